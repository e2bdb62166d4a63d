"""Where a page can keep chunks: IndexedDB (buffers, blobs) beside the origin private file system, in Chromium.

    .venv/bin/python -m bench.page_storage [--json] [--chunks 96] [--rounds 3]

A chunk is 512 KiB. From the page's main thread, with a profile on disk: writing them one behind the other as a
player does, reading them back in a new page, and asking which of them are there (what a reload needs before it
greets anybody). `stall` is the longest time for which the main thread did nothing else meanwhile.
"""

import asyncio
import shutil
import statistics
import tempfile
from typing import Any

from playwright.async_api import async_playwright

from bench import stack
from bench.report import Report, arguments

CHUNK_BYTES = 524_288
ORIGIN = "http://localhost:9"

STORES = """
const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});
const ended = (transaction) => new Promise((resolve, reject) => {
  transaction.oncomplete = resolve;
  transaction.onabort = () => reject(transaction.error);
});
const indexed = (name, pack, unpack) => ({
  async open() {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore('bytes');
      request.result.createObjectStore('index');
    };
    this.db = await done(request);
  },
  async write(key, data) {
    const transaction = this.db.transaction(['bytes', 'index'], 'readwrite');
    transaction.objectStore('bytes').put(pack(data), key);
    transaction.objectStore('index').put({ size: data.length, used: Date.now() }, key);
    await ended(transaction);
  },
  async read(key) {
    return unpack(await done(this.db.transaction('bytes').objectStore('bytes').get(key)));
  },
  async list() {
    return (await done(this.db.transaction('index').objectStore('index').getAllKeys())).length;
  },
});
const stores = {
  indexeddb_buffer: indexed('buffers', (data) => data, (data) => data),
  indexeddb_blob: indexed('blobs',
    (data) => new Blob([data]), async (blob) => new Uint8Array(await blob.arrayBuffer())),
  opfs: {
    async open() {
      this.folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('c', { create: true });
    },
    async write(key, data) {
      const file = await this.folder.getFileHandle(key, { create: true });
      const out = await file.createWritable();
      await out.write(data);
      await out.close();
    },
    async read(key) {
      const file = await (await this.folder.getFileHandle(key)).getFile();
      return new Uint8Array(await file.arrayBuffer());
    },
    async list() {
      let count = 0;
      for await (const name of this.folder.keys()) count += 1;
      return count;
    },
  },
};
// How long the page's thread was away, at worst.
const watch = () => {
  const channel = new MessageChannel();
  let [worst, last, isOver] = [0, performance.now(), false];
  channel.port1.onmessage = () => {
    const now = performance.now();
    worst = Math.max(worst, now - last);
    last = now;
    if (!isOver) channel.port2.postMessage(0);
  };
  channel.port2.postMessage(0);
  return () => { isOver = true; channel.port1.close(); return worst; };
};
"""
WRITE = (
    "async ([name, chunks, size]) => {"
    + STORES
    + """
  const store = stores[name];
  await store.open();
  const data = new Uint8Array(size);
  for (let at = 0; at < size; at += 65536) crypto.getRandomValues(data.subarray(at, at + 65536));
  const stop = watch();
  const began = performance.now();
  for (let i = 0; i < chunks; i += 1) await store.write(`${i}`.padStart(64, 'a'), data);
  return { ms: performance.now() - began, stall: stop() };
}"""
)
READ = (
    "async ([name, chunks]) => {"
    + STORES
    + """
  const store = stores[name];
  let began = performance.now();
  await store.open();
  const count = await store.list();
  const list = performance.now() - began;
  const stop = watch();
  began = performance.now();
  let first = null;
  for (let i = 0; i < chunks; i += 1) {
    const data = await store.read(`${i}`.padStart(64, 'a'));
    if (data.length !== 524288) throw new Error('short');
    first ??= performance.now() - began;
  }
  return { ms: performance.now() - began, stall: stop(), first, list, count };
}"""
)


async def measure(name: str, chunks: int) -> dict[str, Any]:
    """One store in a fresh profile: written in one run of the browser, read in the next."""
    folder = tempfile.mkdtemp(prefix="digm-bench-")
    try:
        async with async_playwright() as playwright:
            found = []
            for script, given in ((WRITE, [name, chunks, CHUNK_BYTES]), (READ, [name, chunks])):
                context = await playwright.chromium.launch_persistent_context(
                    folder, executable_path=stack.CHROMIUM, args=stack.CHROMIUM_FLAGS
                )
                page = await context.new_page()
                await page.route(
                    f"{ORIGIN}/**",
                    lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"),
                )
                await page.goto(f"{ORIGIN}/")
                found.append(await page.evaluate(script, given))
                await context.close()
            written, read = found
            assert read["count"] == chunks
            return {
                "write_ms": written["ms"] / chunks, "write_stall_ms": written["stall"],
                "read_ms": read["ms"] / chunks, "read_stall_ms": read["stall"],
                "first_read_ms": read["first"], "list_ms": read["list"],
            }  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    options = arguments(__doc__ or "", chunks=96, rounds=3)
    report = Report("page_storage", options.json)
    names = ("indexeddb_buffer", "indexeddb_blob", "opfs")
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            found[name].append(asyncio.run(measure(name, options.chunks)))
    figures = {}
    for name in names:
        row = {key: round(statistics.median(run[key] for run in found[name]), 2) for key in found[name][0]}
        report.row(store=name, chunks=options.chunks, **row)
        figures[f"{name}_write_ms"], figures[f"{name}_read_ms"] = row["write_ms"], row["read_ms"]
    report.summary(**figures)


if __name__ == "__main__":
    main()
