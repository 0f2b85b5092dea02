import test from 'ava'
import fc from 'fast-check'
import { MAX_STEP_BYTES, newStepRing, StepFiller, StepTaker } from './step-ring.ts'
import type { TarEntry } from './tar-parser.ts'
import type { TreeMaker } from './tree-maker.ts'
import { makeTold, TreeTeller } from './tree-steps.ts'

const bytes = fc.uint8Array({ maxLength: 60 }).map((all) => Buffer.from(all).toString('latin1'))
const id = fc.integer({ min: 0, max: 2 ** 31 })
const entries: fc.Arbitrary<TarEntry> = fc.record({
  name: bytes,
  type: fc.constantFrom('file', 'directory', 'symlink', 'hardlink', 'character', 'block', 'fifo'),
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: id,
  gid: id,
  storedSize: fc.constant(0),
  mtime: fc.constantFrom('1763780000.123456789', '-1.5', '0'),
  link: bytes,
  major: id,
  minor: id,
  attributes: fc
    .array(fc.tuple(fc.string({ unit: 'binary', maxLength: 20 }), bytes), { maxLength: 3 })
    .map((pairs) => new Map(pairs.map(([key, value]) => [`SCHILY.xattr.user.${key}`, value]))),
  sparse: fc.constant(undefined),
})

/** Writes down each call. */
function recorder(): { readonly calls: unknown[]; readonly tree: TreeMaker } {
  const calls: unknown[] = []
  const note =
    (call: string) =>
    (...args: readonly unknown[]): void => {
      calls.push([call, ...args.map((arg) => (Buffer.isBuffer(arg) ? arg.toString('latin1') : arg))])
    }
  const [directory, special, hardLink] = [note('directory'), note('special'), note('hardLink')]
  const [beginFile, write, setLength, endFile] = [note('beginFile'), note('write'), note('setLength'), note('endFile')]
  const none = () => undefined
  const tree = { directory, special, hardLink, beginFile, write, setLength, endFile, pause: none, close: none }
  return { calls, tree: { ...tree, finish: note('finish') } }
}

function throughRing(tell: (tree: TreeMaker) => void): readonly unknown[] {
  const ring = newStepRing()
  const full = () => {
    throw new Error('one thread cannot wait for itself')
  }
  tell(new TreeTeller(new StepFiller(ring, full)))
  const { calls, tree } = recorder()
  makeTold(new StepTaker(ring, full), tree, () => undefined)
  return calls
}

test('what is told of a tree is what is made', (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(entries, bytes), { maxLength: 40 }), (members) => {
      const tell = (tree: TreeMaker) => {
        for (const [index, [entry, content]] of members.entries()) {
          if (entry.type === 'directory') tree.directory(entry)
          else if (entry.type === 'hardlink') tree.hardLink(entry, entry.link)
          else if (entry.type !== 'file') tree.special(entry)
          else {
            tree.beginFile(entry, entry.mode % 2 === 0)
            if (content !== '') tree.write(Buffer.from(content, 'latin1'), entry.uid)
            tree.setLength(entry.gid)
            tree.endFile(entry, entry.mode % 3 === 0)
          }
          if (index === 10 || index === 20) tree.pause()
        }
        tree.finish()
      }
      const { calls, tree } = recorder()
      tell(tree)
      t.deepEqual(throughRing(tell), calls)
    }),
    { numRuns: 200 },
  )
})

test('texts and contents that are larger than a step arrive whole', (t) => {
  const value = 'x'.repeat(MAX_STEP_BYTES) + 'y'.repeat(MAX_STEP_BYTES / 2)
  const attributes = new Map([['SCHILY.xattr.user.large', value]])
  const entry = { ...fc.sample(entries, 1)[0], type: 'file', attributes } as TarEntry // as: all fields are there
  const content = Buffer.alloc(MAX_STEP_BYTES + 100_000, 'abcdefg')
  const calls = throughRing((tree) => {
    tree.beginFile(entry, true)
    tree.write(content, 5)
    tree.endFile(entry, true)
    tree.finish()
  }) as [string, ...unknown[]][]
  t.deepEqual(calls[0], ['beginFile', entry, true])
  const writes = calls.filter(([call]) => call === 'write')
  t.is(writes.map(([, piece]) => piece).join(''), content.toString('latin1'))
  let position = 5
  for (const [, piece, at] of writes) {
    t.is(at, position)
    position += String(piece).length
  }
})
