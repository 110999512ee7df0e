"""One paper idea a file, and the assemblies that make captioners of them."""
