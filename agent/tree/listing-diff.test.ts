import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import fc from 'fast-check'
import { changeOf, type ListedChange, ListingDiff, withRewritten } from './listing-diff.ts'

/** Names as a tree may have them: with a newline, with bytes that are no UTF-8, long ones. */
const NAMES = ['a', 'b', 'new\nline', 'inv\xff\xfe', '?mark', '..x', 'n'.repeat(250)]
const KINDS = ['f', 'd', 'l']

interface Entry {
  readonly path: string
  readonly told: string
  readonly mark: string
}

function bytesOf(entries: readonly Entry[]): Buffer {
  return Buffer.from(entries.map(({ path, told, mark }) => `${mark}./${path}\0${told}\0`).join(''), 'latin1')
}

const entry = fc.record({
  path: fc.array(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 4 }).map((names) => names.join('/')),
  told: fc
    .tuple(fc.constantFrom(...KINDS), fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 2 }))
    .map(([kind, inode, time]) => `${kind}${inode} ${time}.5 1.5 4096`),
  mark: fc.constantFrom('', '', '', '?1700000000000'),
})
const listing = fc.uniqueArray(entry, { selector: ({ path }) => path, maxLength: 60 })

/** By maps, as slow as may be. */
function expected(before: readonly Entry[], now: readonly Entry[]): ReadonlySet<string> {
  const [old, young] = [before, now].map((all) => new Map(all.map(({ path, told, mark }) => [path, told + mark])))
  const paths = new Set([...(old?.keys() ?? []), ...(young?.keys() ?? [])])
  return new Set([...paths].filter((path) => old?.get(path) !== young?.get(path)))
}

test('whatever differs between two listings is told, in whatever order and chunks they come', (t) => {
  const folder = mkdtempSync('/var/tmp/holdfast-test-')
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'listing')
  const property = fc.property(
    listing,
    listing,
    fc.array(fc.nat(59)),
    fc.integer({ min: 1, max: 400 }),
    (before, other, kept, chunkBytes) => {
      // Much stays as it was.
      const now = before.map((one, index) => (kept.includes(index) ? (other[index] ?? one) : one))
      const unique = [...new Map([...now, ...other.slice(0, 3)].map((one) => [one.path, one])).values()]
      writeFileSync(path, bytesOf(before))
      const fd = openSync(path, 'r')
      try {
        const diff = new ListingDiff({ fd, from: 0, to: statSync(path).size })
        const bytes = bytesOf(unique)
        // As the listing's own reader does, one memory for all chunks.
        const memory = Buffer.alloc(chunkBytes)
        for (let at = 0; at < bytes.length; at += chunkBytes) {
          const copied = bytes.copy(memory, 0, at, at + chunkBytes)
          diff.take(memory.subarray(0, copied))
          memory.fill('x')
        }
        const found = new Set(diff.finish()?.changes.map((change) => change.path))
        t.deepEqual([...found].sort(), [...expected(before, unique)].sort())
      } finally {
        closeSync(fd)
      }
    },
  )
  fc.assert(property, { numRuns: 400 })
})

test('listings of many windows, of which a part came, went and changed', (t) => {
  const folder = mkdtempSync('/var/tmp/holdfast-test-')
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'listing')
  const all = Array.from({ length: 30_000 }, (_, n) => ({ path: `d/file-${n}`, told: `f${n} 1.5 1.5 7`, mark: '' }))
  writeFileSync(path, bytesOf(all))
  const now = all.flatMap((one, n) =>
    n % 1_000 === 3
      ? []
      : n % 500 === 7
        ? [{ ...one, told: `f${n} 9.25 1.5 11` }]
        : n % 2_000 === 11
          ? [one, { path: `d/new-${n}`, told: 'd7 1.5 1.5 7', mark: '' }]
          : [one],
  )
  const fd = openSync(path, 'r')
  t.teardown(() => closeSync(fd))
  const diff = new ListingDiff({ fd, from: 0, to: statSync(path).size })
  const bytes = bytesOf(now)
  for (let at = 0; at < bytes.length; at += 2 ** 18) diff.take(bytes.subarray(at, at + 2 ** 18))
  const found = diff.finish()
  t.is(found?.changes.length, 30 + 60 + 15)
  t.deepEqual(found?.files, { bytes: 60 * 11, mostBytes: 11, changedMs: 9_250 })
  t.false(found?.isEqual)
})

test('rewritten is what no directory around it changed of', (t) => {
  const told = (changes: readonly ListedChange[]) =>
    withRewritten(changes).flatMap(({ path, rewritten }) => (rewritten ? [path] : []))
  const file = (path: string) => ({ path, subtree: false })
  const directory = (path: string) => ({ path, subtree: false, inode: 7 })
  t.deepEqual(told([file('a/b'), file('c')]), ['a/b', 'c'])
  t.deepEqual(told([file('a/b'), file('a/b2/c'), file('ab/c'), directory('a')]), ['ab/c'])
  t.deepEqual(told([file('x/y/z'), file('x2/y/z'), directory('x')]), ['x2/y/z'], 'one further up may have been another')
  t.deepEqual(told([file('a/b'), file('c'), directory('')]), [])
  t.deepEqual(told([file('a/b'), { path: 'a', subtree: true }]), [])
  const of = (bytes: number, mark = '') => `f7 1.5 1.5 ${bytes}${mark}`
  const [large, short] = [4_194_304, 4_194_303]
  const changes = [
    changeOf('large', of(large), of(large + 9, '?1700000000000')),
    changeOf('shorter', of(large), of(short)),
    changeOf('longer', of(short), of(large)),
    changeOf('link', 'l7 1.5 1.5 9999999', of(large)),
  ]
  t.deepEqual(told(changes), ['shorter', 'longer', 'link'], 'what the chain has of a large file is worth a look')
})
