"""`python -m adiff_jax` is `adiff`."""

from adiff_jax.cli import main

if __name__ == "__main__":
    main()
