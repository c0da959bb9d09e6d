"""Turns a release of the PyPI package `tzdata` into JSON lines.

Usage: python3 make.py FOLDER > zones-RELEASE.jsonl
where FOLDER is `tzdata/zoneinfo` of the unpacked wheel. See README.md.
"""

import json
import pathlib
import re
import sys

# A POSIX TZ string: name, offset, and where there is daylight saving its name
# and rules. Offsets count westwards.
TZ = re.compile(r"(?:[A-Za-z]+|<[^>]+>)([-+]?)(\d+)(?::(\d+))?(?::\d+)?(.*)")


def degrees(text: str) -> float:
    """±DDMM or ±DDMMSS (one more D for longitudes) as decimal degrees."""
    sign = -1 if text[0] == "-" else 1
    digits = text[1:]
    whole = 2 if len(digits) in (4, 6) else 3
    d, m, s = int(digits[:whole]), int(digits[whole : whole + 2]), int(digits[whole + 2 :] or 0)
    return sign * round(d + m / 60 + s / 3600, 4)


def rows(path: pathlib.Path):
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line.split("\t")


def main(folder: pathlib.Path) -> None:
    countries = {code: name for code, name in rows(folder / "iso3166.tab")}
    zones = []
    for code, at, zone, *comment in rows(folder / "zone.tab"):
        latitude, longitude = re.fullmatch(r"([-+]\d+)([-+]\d+)", at).groups()
        # The last line of a compiled zone says what goes for the future.
        rule = (folder / zone).read_bytes().rsplit(b"\n", 2)[1].decode()
        west, hours, minutes, summer = TZ.fullmatch(rule).groups()
        sign = "+" if west == "-" or int(hours) == 0 else "-"
        zones.append(
            {
                "zone": zone,
                "country": {"code": code, "name": countries[code]},
                "latitude": degrees(latitude),
                "longitude": degrees(longitude),
                "utcOffset": f"{sign}{int(hours):02}:{minutes or '00'}",
                "daylightSaving": bool(summer),
                "rule": rule,
                **({"comment": comment[0]} if comment else {}),
            }
        )
    for zone in sorted(zones, key=lambda zone: zone["zone"]):
        print(json.dumps(zone, ensure_ascii=False, separators=(",", ":")))


main(pathlib.Path(sys.argv[1]))
