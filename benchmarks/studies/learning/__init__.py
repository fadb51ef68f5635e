"""What learning on unlabelled texts keeps of the suite's experts: rows, ablations, and the pages they are shown on."""
