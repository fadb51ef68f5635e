"""What learning on unlabelled texts keeps of the suite's experts: rows, ablations, and the pages that show them."""
