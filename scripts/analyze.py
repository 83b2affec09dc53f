#!/usr/bin/env python3
"""cppcheck and gcc's -fanalyzer over src/, and clang-tidy too with "all" (its checks: .clang-tidy). What they find and are wrong about
stands in scripts/analyze_suppressions.txt, each with its reason; anything else fails, and so does a suppression of what none of them
finds any more. CUDA is left out, and kernels, which are one set of templates compiled many times.

usage: analyze.py [all] [FILE or FOLDER]...      with some of src/ named, those alone
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
SUPPRESSIONS = ROOT / "scripts/analyze_suppressions.txt"
LEFT_OUT = re.compile(r"src/backend/cuda/|/kernels_|/row_passes|/resize_passes")
FLAGS = ["-std=gnu17", "-O1", "-D_GNU_SOURCE", '-DSPATE_VERSION="0"', '-DWEB_FOLDER="."', '-DCALIBRATION_TEXT="/dev/null"', "-Isrc",
         "-Iinclude"]
HINTS = ["-include", "scripts/analyze.h"]
OWN = "src/base/error.c", "src/text/jinja_rendering.c"  # which define what the hints are about
GCC = re.compile(r"^(src/\S+?):(\d+):\d+: (?:warning|error): (.*?) \[-W(?:error=)?([a-z-]+)\]$", re.M)
TIDY = re.compile(r"^(?:\S*?/)?(src/\S+?):(\d+):\d+: (?:warning|error): (.*) \[([\w.,-]+)\]$", re.M)
CPPCHECK = re.compile(r"^(src/\S+?):(\d+): (.*) \[(\w+)\]$", re.M)


def run(command, pattern):
    """{(id, file): [sentences]}"""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = {}
    for file, line, message, name in pattern.findall(done.stdout + done.stderr):
        found.setdefault((name, file), []).append(f"{file}:{line}: {message} [{name}]")
    if done.returncode and not found:
        found[" ".join(map(str, command)), ""] = [done.stderr[-2000:]]
    return found


def hints(file):
    return [] if file in OWN else HINTS + ["-DANALYZES_JINJA"] * ("/jinja_" in file)


def gcc(file):
    return run(["gcc", *FLAGS, *hints(file), "-fanalyzer", "-Wno-unused-value", "-S", "-o", "/dev/null", file], GCC)


def tidy(file):
    return run(["clang-tidy", "--quiet", file, "--", *FLAGS, *hints(file), "-Wno-unused-value"], TIDY)


def cppcheck(folder):
    return run(["cppcheck", "--quiet", "--std=c11", "--enable=warning,performance,portability", "--template={file}:{line}: {message} [{id}]",
                "-isrc/backend/cuda", "-D_GNU_SOURCE", "-D__x86_64__", '-DSPATE_VERSION="0"', "-Isrc", "-Iinclude", str(folder)], CPPCHECK)


def suppressions():
    """{(id, file or "" for all)}, each of which follows a line with its reason."""
    known, reason = set(), False
    for line in SUPPRESSIONS.read_text().splitlines():
        if line.startswith("#"):
            reason = True
        elif line:
            if not reason:
                sys.exit(f"{SUPPRESSIONS}: {line} has no reason in a comment before it.")
            name, _, file = line.partition(" ")
            known.add((name, file))
        else:
            reason = False
    return known


def main():
    everything = sys.argv[1:2] == ["all"]
    named = sys.argv[1 + everything:]
    if any(not (ROOT / name).exists() for name in named):
        sys.exit(__doc__)
    listed = subprocess.run(["git", "ls-files", *(named or ["src"])], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    listed = [file for file in listed if file.startswith("src/") and file.endswith(".c")]
    files = [file for file in listed if not LEFT_OUT.search(file)]
    folders = sorted({pathlib.Path(*pathlib.Path(file).parts[:2]) for file in listed})
    work = [(cppcheck, folder) for folder in folders] + [(gcc, file) for file in files] + [(tidy, file) for file in files if everything]
    found = {}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for part in pool.map(lambda item: item[0](item[1]), work):
            found |= part
    known = suppressions()
    new = [sentence for (name, file), sentences in found.items() if not {(name, file), (name, "")} & known for sentence in sentences]
    print("\n".join(sorted(set(new))))
    unused = [] if not everything or named else [f"{name} {file}" for name, file in known
                                        if not any(name == n and file in ("", f) for n, f in found)]
    for line in unused:
        print(f"{SUPPRESSIONS.name} suppresses what nothing finds: {line}")
    print(f"{len(files)} files: {len(new)} findings, {sum(map(len, found.values())) - len(new)} suppressed")
    sys.exit(bool(new or unused))


if __name__ == "__main__":
    main()
