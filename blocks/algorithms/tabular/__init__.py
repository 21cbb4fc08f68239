"""The provided tabular algorithm: classification and regression of rows, with scikit-learn underneath.

It is run as users' own code is: the folder is staged as the source, `train.py` is the entry point, and the image
`scikit-learn` brings what it imports. It knows nothing of the platform but the environment of every entry point.
"""
