"""What compilers make of dropout for a TPU or a GPU that is not there.

Nothing here runs on an accelerator: programs are compiled, and the result is read.
"""
