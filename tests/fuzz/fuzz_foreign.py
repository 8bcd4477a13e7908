"""Any bytes are a history, or refused in words: the readers under a coverage-guided fuzzer.

Run: pip install -e '.[fuzz]'; python -m tests.fuzz.fuzz_foreign --seconds 600 [--corpus DIR]

Not part of the tests: they try what is in `corpus`, and random bytes. An input is a byte that says
what the file is called, and the file. It begins with the corpus and the samples of `tests/foreign`.
Only a HistoryError may come out; an input that takes more than 10 s or 2 GB is a failure, too. What
fails is written to the current folder, and belongs into `corpus` once it is mended.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SAMPLES = HERE.parent / "foreign"
NAMES = ("h.edn", "h.json", "h.jsonl", "h.log", "h", "h.edn.gz", "h.jepsen")
WORDS = (
    *(
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "#{",
        '"',
        "\\",
        "#_",
        "^",
        "#a ",
        "#:n{",
        ";",
        "\\\\n",
        "\\\\u0041",
    ),
    *(":type", ":ok", ":invoke", ":fail", ":info", ":f", ":value", ":process", ":index", ":time"),
    *(":nemesis", ":txn", ":poll", ":append", "nil", "true", "##Inf", "1/2", "1e999", "0x1f", "7N"),
    *(
        '"type":',
        '"ok"',
        '"process":',
        '"value":',
        "INFO  jepsen.util - 0",
        "\t:invoke\t:read\tnil",
    ),
    *("\\x1f\\x8b\\x08", "JEPSEN", ":key", ":get", ":put", "#jepsen.history.Op", "#inst "),
)


def main() -> None:
    arguments = _arguments()
    try:
        import atheris
    except ImportError:
        sys.exit("fuzzing needs atheris: pip install -e '.[fuzz]'")
    with atheris.instrument_imports(include=["harness"]):
        from harness.errors import HistoryError
        from harness.history import History
    folder = Path(tempfile.mkdtemp(prefix="assay-fuzz-"))

    def one(data: bytes) -> None:
        path = folder / NAMES[data[0] % len(NAMES)] if data else folder / "h"
        path.write_bytes(data[1:])
        try:
            History.load(path)._check()
        except HistoryError as error:
            assert error.reason and (error.line is None or error.line > 0)

    try:
        atheris.Setup([sys.argv[0], *_flags(folder, arguments)], one)
        atheris.Fuzz()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=600, metavar="S")
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="keep what is new here")
    return parser.parse_args()


def _flags(folder: Path, arguments: argparse.Namespace) -> list[str]:
    """What libFuzzer is told, first the folders that it begins with."""
    seeds = folder / "seeds"
    seeds.mkdir()
    for number, path in enumerate(sorted([*SAMPLES.iterdir(), *(HERE / "corpus").iterdir()])):
        for kind in range(len(NAMES)):
            (seeds / f"{number}-{kind}").write_bytes(bytes([kind]) + path.read_bytes())
    words = folder / "words"
    words.write_text("".join(f'"{_quoted(word)}"\n' for word in WORDS), encoding="ascii")
    if arguments.corpus is not None:
        arguments.corpus.mkdir(exist_ok=True)
    return [
        *([str(arguments.corpus)] if arguments.corpus is not None else []),
        str(seeds),
        f"-dict={words}",
        f"-max_total_time={arguments.seconds}",
        *("-max_len=4096", "-timeout=10", "-rss_limit_mb=2048"),
    ]


def _quoted(word: str) -> str:
    escapes = {'"': '\\"', "\t": "\\x09", "\\": "\\\\"}
    is_spelled = word.startswith("\\x")
    return word if is_spelled else "".join(escapes.get(character, character) for character in word)


if __name__ == "__main__":
    main()
