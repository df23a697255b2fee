"""Trains a network with jdrop's dropout on real data.

python -m examples.train
"""

import sys
from collections.abc import Sequence

from examples import options
from examples.errors import BadInput, Diverged


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
      argv: The arguments; None means those of the process.

    Returns:
      The exit status: 0 done, 1 the loss diverged or a file could not be written,
      2 bad input, 130 interrupted.
    """
    chosen = options.parse(argv)
    try:
        # Not before the arguments are known to be good: JAX takes a second to import.
        from examples.run import run

        run(chosen)
    except BadInput as error:
        return _fail(str(error), 2)
    except ImportError as error:
        return _fail(f"{error}; the trainers need pip install 'jdrop[examples]'", 2)
    except Diverged as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(f"a file could not be written: {error}", 1)
    except KeyboardInterrupt as error:
        return _fail(str(error) or "interrupted before the first epoch", 130)
    return 0


def _fail(message: str, status: int) -> int:
    print(f"train: error: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
