"""The codes of Fressian: what the first byte of a value says of it.

    0x00-0x3F, 0xFF    an integer, 0 to 63 or -1       0xD0-0xD9    bytes, in one piece or in chunks
    0x40-0x7F          a wider one, of a byte more     0xDA-0xE3    a string, likewise
                       to six (`WIDE`), or 0xF8        0xE4-0xEE    a list of 0 to 7, of a length
    0x80-0x9F, 0xCC    the cached value 0 to 31, n                  that follows, or until an END
    0xA0-0xAF, 0xF0    a value of type 0 to 15, n      0xEF, 0xCD    defines a type; caches a value
    0xB0-0xCA          a value with a tag (`TAGS`)     0xF5-0xFC    constants and fractions

Source: Fressian (Datomic/fressian, its class Codes).
"""

from __future__ import annotations

CACHED, STRUCTS, ARRAYS = 0x80, 0xA0, 0xB0
KEY, GET, PUT, FOOTER = 0xCA, 0xCC, 0xCD, 0xCF
BYTES, BYTES_CHUNK, BYTES_LONG = 0xD0, 0xD8, 0xD9
STRING, STRING_CHUNK, STRING_LONG = 0xDA, 0xE2, 0xE3
LIST, LIST_LONG, CLOSED_LIST, OPEN_LIST = 0xE4, 0xEC, 0xED, 0xEE
STRUCT_TYPE, STRUCT, NULL, END, RESET = 0xEF, 0xF0, 0xF7, 0xFD, 0xFE

TAGS = {
    0xB0: "long[]", 0xB1: "double[]", 0xB2: "boolean[]", 0xB3: "int[]", 0xB4: "float[]",
    0xB5: "Object[]", 0xC0: "map", 0xC1: "set", 0xC3: "uuid", 0xC4: "regex", 0xC5: "uri",
    0xC6: "bigint", 0xC7: "bigdec", 0xC8: "inst", 0xC9: "sym", KEY: "key",
}  # fmt: skip
"""Those that have a code of their own."""

WIDE = {
    code: (width, (code - zero) << 8 * width)
    for width, first, zero, end in (
        (1, 0x40, 0x50, 0x60), (2, 0x60, 0x68, 0x70), (3, 0x70, 0x72, 0x74),
        (4, 0x74, 0x76, 0x78), (5, 0x78, 0x7A, 0x7C), (6, 0x7C, 0x7E, 0x80),
    )
    for code in range(first, end)
}  # fmt: skip
"""By the code of an integer: how many bytes are beside it, and what the code itself adds."""
