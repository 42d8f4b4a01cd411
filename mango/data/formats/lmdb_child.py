"""Run by `lmdb_files` as a process of its own: questions on stdin (DATABASE, "keys" or "value", KEY), answers on stdout. Knows nothing of
ours. A question is three texts, an answer a status and bytes, each with its length in front. It ends when its questions do.
"""

import os
import struct
import sys

OK, REFUSED, NO_PACKAGE = range(3)  # as in child_process


def answered(database: str, what: str, key: str, most: int) -> tuple[int, bytes]:
    try:
        import lmdb
    except ImportError:
        return NO_PACKAGE, b"pip install 'mango-heads[lmdb]'"
    size = os.path.getsize(database)
    env = lmdb.open(database, subdir=False, readonly=True, lock=False, readahead=False, max_spare_txns=0)
    try:
        with env.begin(buffers=True) as transaction:
            if what == "value":
                found = transaction.get(key.encode())
                if found is None:
                    return REFUSED, b"no such entry"
                if len(found) > min(most, size):
                    return REFUSED, f"an entry of {len(found)} bytes".encode()
                return OK, bytes(found)
            total, keys = 0, []
            for found in transaction.cursor().iternext(keys=True, values=False):
                keys.append(bytes(found))
                total += len(found) + 8
                if total > size:
                    return REFUSED, b"more keys than the file has room for"  # pages that lead back to themselves
            return OK, b"\0".join(keys)
    finally:
        env.close()


def taken(count: int) -> bytes:
    content = sys.stdin.buffer.read(count)
    if len(content) < count:
        os._exit(0)
    return content


def main(most: int) -> None:
    while True:
        texts = [taken(struct.unpack("<Q", taken(8))[0]).decode() for _ in range(3)]
        try:
            status, answer = answered(*texts, most)
        except Exception as error:
            status, answer = REFUSED, f"{type(error).__name__}: {error}".encode()
        sys.stdout.buffer.write(struct.pack("<BQ", status, len(answer)) + answer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
