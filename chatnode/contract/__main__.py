"""``python -m chatnode.contract`` writes ``docs/contract/``. Needs PyYAML, which the development requirements bring."""

import sys

from chatnode.contract.documents import FOLDER, documents


def main() -> int:
    for name, content in documents().items():
        (FOLDER / name).write_text(content, "utf-8")
        sys.stdout.write(f"{FOLDER / name}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
