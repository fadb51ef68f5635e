"""What names and files mean by the conventions of the libraries that write them, as tables with their sources.

Nothing here opens a weight: the sources, the plan and the output ask. Each row of a table has its test in
`tests/conventions`, and `docs/situations.md` lists what follows from them.
"""
