"""Run by `lmdb_files` as a process of its own: `lmdb_child.py MOST DATABASE keys | value KEY`, the answer on stdout. Knows nothing of
ours.
"""

import os
import sys


def main(most: int, database: str, what: str, key: str = "") -> int:
    try:
        import lmdb
    except ImportError:
        return 3
    size = os.path.getsize(database)
    env = lmdb.open(database, subdir=False, readonly=True, lock=False, readahead=False, max_spare_txns=0)
    with env.begin(buffers=True) as transaction:
        if what == "value":
            answer = transaction.get(key.encode())
            if answer is None or len(answer) > min(most, size):
                print("no such entry" if answer is None else f"an entry of {len(answer)} bytes", file=sys.stderr)
                return 1
            sys.stdout.buffer.write(answer)
            return 0
        total, keys = 0, []
        for found in transaction.cursor().iternext(keys=True, values=False):
            keys.append(bytes(found))
            total += len(found) + 8
            if total > size:  # pages that lead back to themselves
                print("more keys than the file has room for", file=sys.stderr)
                return 1
        sys.stdout.buffer.write(b"\0".join(keys))
    return 0


if __name__ == "__main__":
    try:
        code = main(int(sys.argv[1]), *sys.argv[2:])
        sys.stdout.buffer.flush()
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        code = 1
    os._exit(code)  # closing a damaged environment may hang
