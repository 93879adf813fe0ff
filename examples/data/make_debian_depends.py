#!/usr/bin/env python3
"""Write the dependency graph of a Debian suite as a gzip-compressed TSV file.

Every binary package of one suite, component and architecture (by default
bookworm, main, amd64) is read from the Packages index that ``apt-get update``
left on this machine, and each of its Depends and Pre-Depends becomes edges:

    package<TAB>dependency<LF>

* each alternative of ``a | b`` is an edge of its own;
* versions ``(>= 1)``, architecture qualifiers ``:any``, and (should an index
  ever hold them) ``[arch]`` and ``<profile>`` restrictions are stripped;
* names stay as written, so a dependency may be a virtual package, or a package
  that the suite does not have;
* a package listed in several versions gets the union of their dependencies;
* edges are unique, and sorted bytewise by (package, dependency).

The file begins with comment lines, each starting with ``#``, that name the
source.  They hold facts of the index only (no clock, no machine), so the same
index gives the same text, and with the same zlib the same gzip bytes.

Needs Debian's apt and Python 3.8 or later, nothing else.  Usage:

    apt-get update
    python3 make_debian_depends.py --output debian-12-depends.tsv.gz --stats

With ``--check`` nothing is written: the output file is decompressed and
compared with what the index gives now.
"""

import argparse
import gzip
import hashlib
import io
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

APT_HELPER = "/usr/lib/apt/apt-helper"
FIELDS = ("Depends", "Pre-Depends")
# A package name by Debian policy 5.6.1, but lenient: a few virtual packages
# (GHC's ABI hashes, for one) have capital letters or underscores.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*\Z")
RESTRICTION = re.compile(r"\([^)]*\)|\[[^\]]*\]|<[^>]*>")


class Failure(Exception):
    """Something the user has to know; ends the program with status 1."""


def run(*command):
    """Return the standard output of a command, as bytes."""
    try:
        return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    except FileNotFoundError as error:
        raise Failure(f"{command[0]} not found: is this Debian?") from error
    except subprocess.CalledProcessError as error:
        raise Failure(f"{command[0]} failed with status {error.returncode}") from error


def find_index(codename, component, architecture):
    """Return (file name, MetaKey) of the one Packages index that is asked for."""
    lines = run(
        "apt-get", "indextargets", "--format", "$(FILENAME)\t$(METAKEY)",
        "Created-By: Packages", "Origin: Debian", f"Codename: {codename}",
        f"Component: {component}", f"Architecture: {architecture}",
    ).decode().splitlines()
    found = sorted(set(line for line in lines if line))
    wanted = f"{codename}/{component} {architecture}"
    if not found:
        raise Failure(f"no Packages index of {wanted}; run 'apt-get update' first")
    if len(found) > 1:
        raise Failure(f"several Packages indexes of {wanted}: {found}")
    filename, metakey = found[0].split("\t")
    return filename, metakey


def cat(filename):
    """Return the text of a file in apt's lists, decompressed, as bytes."""
    return run(APT_HELPER, "cat-file", filename)


def stanzas(text):
    """Yield each paragraph of a Debian control file as a dict of its fields.

    Folded lines are joined to their field with a space.
    """
    fields, last = {}, None
    for line in text.splitlines():
        if not line.strip():
            if fields:
                yield fields
            fields, last = {}, None
        elif line[0] in " \t":
            if last is None:
                raise Failure(f"continuation line without a field: {line!r}")
            fields[last] += " " + line.strip()
        else:
            last, colon, value = line.partition(":")
            if not colon:
                raise Failure(f"not a field: {line!r}")
            fields[last] = value.strip()
    if fields:
        yield fields


def release_of(index, metakey):
    """Return the Release fields (a dict) of the suite that an index belongs to.

    apt keeps InRelease (or Release) next to the index: same prefix, and after
    it, in place of the index's MetaKey, that name.
    """
    prefix, separator, _ = index.rpartition(metakey.replace("/", "_"))
    if not separator:
        raise Failure(f"{index} does not end in {metakey}")
    for name in ("InRelease", "Release"):
        path = Path(prefix + name)
        if path.exists():
            for fields in stanzas(strip_signature(cat(str(path)).decode())):
                if "Codename" in fields:
                    return fields
    raise Failure(f"no InRelease or Release file at {prefix}")


def strip_signature(text):
    """Return the signed part of a clear-signed text; any other text unchanged."""
    begin = "-----BEGIN PGP SIGNED MESSAGE-----"
    if not text.startswith(begin):
        return text
    body = text.partition("\n\n")[2]  # after the armour's own headers
    return body.partition("-----BEGIN PGP SIGNATURE-----")[0]


def check_digest(index_bytes, metakey, release):
    """Return the SHA-256 of an index; fail unless Release lists it."""
    digest = hashlib.sha256(index_bytes).hexdigest()
    words = release.get("SHA256", "").split()
    listed = {words[i + 2]: words[i] for i in range(0, len(words) - 2, 3)}
    if listed.get(metakey) != digest:
        raise Failure(f"{metakey}: SHA-256 is not the one in Release; run 'apt-get update'")
    return digest


def dependencies(value):
    """Yield the package names in the value of a dependency field."""
    for alternative in re.split(r"[,|]", RESTRICTION.sub("", value)):
        name = alternative.strip().partition(":")[0]
        if not name:
            continue  # a trailing comma
        if not NAME.match(name):
            raise Failure(f"not a package name: {name!r} in {value!r}")
        yield name


def read_graph(index_text):
    """Return (set of all package names, sorted list of unique edges)."""
    packages, edges = set(), set()
    for fields in stanzas(index_text):
        package = fields["Package"]
        if not NAME.match(package):
            raise Failure(f"not a package name: {package!r}")
        packages.add(package)
        for field in FIELDS:
            for dependency in dependencies(fields.get(field, "")):
                edges.add((package, dependency))
    # The names are ASCII, so Python's order of strings is the order of bytes.
    return packages, sorted(edges)


def render(edges, packages, release, component, architecture, digest):
    """Return the whole TSV file as bytes."""
    header = [
        "package<TAB>dependency: one edge a line, unique, sorted bytewise",
        f"source: Debian {release['Version']} ({release['Codename']}), {component},"
        f" {architecture}, Packages index of the Release of {release['Date']}",
        f"index sha256: {digest}",
        "edges: Depends and Pre-Depends; every alternative; no versions, no :any",
        f"packages in the index: {len(packages)}; with an edge: "
        f"{len({package for package, _ in edges})}; edges: {len(edges)}",
        "licence: names and relations only, facts of Debian's public package"
        " metadata; no text of any package",
    ]
    lines = [f"# {line}\n" for line in header]
    lines += [f"{package}\t{dependency}\n" for package, dependency in edges]
    return "".join(lines).encode()


def compress(raw):
    """Return raw as one gzip member with no name and no time in its header."""
    buffer = io.BytesIO()
    with gzip.GzipFile("", "wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(raw)
    return buffer.getvalue()


def print_stats(packages, edges, raw, packed):
    """Print counts of the graph, as 'name: value' lines."""
    forward, reverse = defaultdict(list), Counter()
    for package, dependency in edges:
        forward[package].append(dependency)
        reverse[dependency] += 1
    out_degrees = Counter(len(values) for values in forward.values())
    in_degrees = Counter(reverse.values())
    most = max(forward, key=lambda name: len(forward[name]))
    print(f"packages in the index: {len(packages)}")
    print(f"packages with a dependency (forward keys): {len(forward)}")
    print(f"names depended on (reverse keys): {len(reverse)}")
    print(f"  of these not packages of the index: {len(set(reverse) - packages)}")
    print(f"distinct names: {len(set(reverse) | packages)}")
    print(f"edges: {len(edges)}")
    print(f"  from a package to itself: {sum(a == b for a, b in edges)}")
    print(f"longest name: {max(len(name) for name in set(reverse) | packages)} bytes")
    print(f"max out-degree: {len(forward[most])} ({most})")
    print("max in-degrees: " + ", ".join(
        f"{name} {count}" for name, count in
        sorted(reverse.items(), key=lambda item: (-item[1], item[0]))[:8]))
    for degree in range(1, 9):
        print(f"keys with exactly {degree} values: "
              f"forward {out_degrees[degree]}, reverse {in_degrees[degree]}")
    for label, table in (("forward", out_degrees), ("reverse", in_degrees)):
        for floor in (9, 100, 1000, 10000):
            print(f"{label} keys with at least {floor} values: "
                  f"{sum(n for degree, n in table.items() if degree >= floor)}")
    print(f"bytes: {len(raw)} raw, {len(packed)} gzip")
    print(f"sha256 of the raw text: {hashlib.sha256(raw).hexdigest()}")
    print(f"sha256 of the gzip file: {hashlib.sha256(packed).hexdigest()}")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description="Write the dependency graph of a Debian suite as a gzip-compressed TSV file.",
        epilog="Run 'apt-get update' first.")
    parser.add_argument("--output", type=Path, default=Path("debian-12-depends.tsv.gz"),
                        help="the file to write (default: %(default)s)")
    parser.add_argument("--codename", default="bookworm", help="default: %(default)s")
    parser.add_argument("--component", default="main", help="default: %(default)s")
    parser.add_argument("--architecture", default="amd64", help="default: %(default)s")
    parser.add_argument("--stats", action="store_true", help="print counts of the graph")
    parser.add_argument("--check", action="store_true",
                        help="write nothing; fail unless the output file has today's text")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    index, metakey = find_index(
        arguments.codename, arguments.component, arguments.architecture)
    index_bytes = cat(index)
    release = release_of(index, metakey)
    digest = check_digest(index_bytes, metakey, release)
    packages, edges = read_graph(index_bytes.decode())
    if not edges:
        raise Failure("the index has no dependencies")
    raw = render(edges, packages, release, arguments.component,
                 arguments.architecture, digest)
    packed = compress(raw)
    if gzip.decompress(packed) != raw:
        raise Failure("gzip did not give the text back")
    if arguments.check:
        if gzip.decompress(arguments.output.read_bytes()) != raw:
            raise Failure(f"{arguments.output} differs from the index of now")
        print(f"{arguments.output}: as the index gives it")
    else:
        arguments.output.write_bytes(packed)
    if arguments.stats:
        print_stats(packages, edges, raw, packed)


if __name__ == "__main__":
    try:
        main()
    except (Failure, OSError) as failure:
        sys.exit(f"make_debian_depends.py: {failure}")
