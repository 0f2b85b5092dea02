import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { consolidate } from '../../agent/archive/consolidate.ts'
import { LocalSink } from '../../agent/archive/local-sink.ts'
import { verify } from '../../agent/archive/verify.ts'
import { calm, canArchive, closeChain, extractTo, openChain, writePoint } from '../harness/archive.ts'
import { sharedMounts } from '../harness/loop-mount.ts'
import { Trees, treeDifferences, type WalkedTree } from '../harness/nasty-tree.ts'
import { THOROUGHNESS } from '../harness/thoroughness.ts'

const mount = sharedMounts(test)
const SEEDS = 8 * THOROUGHNESS
const INCREMENTS = 3

/** A tree that lives through as many changes as it has points, each restored and compared by a walker of its own. */
async function live(trees: Trees, home: string, seed: number): Promise<readonly string[]> {
  const tree = join(home, 'tree')
  const names: string[] = []
  const seen: WalkedTree[] = []
  await trees.change(tree, seed)
  for (let round = 0; round <= INCREMENTS; round += 1) {
    await trees.change(tree, 1_000 * (round + 1) + seed)
    seen.push(await trees.walk(tree))
    const name = `p${round}`
    const chain = names.length === 0 ? undefined : await openChain(home, names)
    const base = chain === undefined ? {} : { base: { points: [...names], lines: chain.lines(calm.signal) } }
    const { problems } = await writePoint({ tree, points: home, name }, { ...base, frameBytes: 2 ** 16 })
    if (problems.length > 0) return [`point ${name}: ${JSON.stringify(problems)}`]
    if (chain !== undefined) await closeChain(chain)
    names.push(name)
  }
  // One of the earlier points, another with each seed, beside the last.
  const earlier = seed % INCREMENTS
  const chain = await openChain(home, names)
  await consolidate({ chain, sink: new LocalSink(home, 'whole'), scratch: home }, calm)
  await closeChain(chain)
  const restored = [
    { into: 'earlier', names: names.slice(0, earlier + 1), expected: seen[earlier] },
    { into: 'last', names, expected: seen.at(-1) },
    { into: 'from-whole', names: ['whole'], expected: seen.at(-1) },
  ]
  const wrong: string[] = []
  for (const { into, names: points, expected } of restored) {
    await extractTo(join(home, into), { points: home, names: points })
    wrong.push(...treeDifferences(await trees.walk(join(home, into)), expected ?? {}).map((line) => `${into}: ${line}`))
  }
  wrong.push(...(await damageOf(home, 'whole')))
  return wrong
}

async function damageOf(home: string, name: string): Promise<readonly string[]> {
  const chain = await openChain(home, [name])
  const [point] = chain.points
  if (point === undefined) return ['no point']
  const { damaged } = await verify({ subject: 'verify', point, scratch: home }, calm)
  await closeChain(chain)
  return damaged.map((path) => `${name}: ${path} is damaged`)
}

// Both run at once: most of the time of either is threads that begin.
for (const [first, fileSystem] of [
  [1, 'ext4'],
  [2, 'btrfs'],
] as const) {
  test(`whatever happens to a tree on ${fileSystem}, each point of it is the tree as it was`, async (t) => {
    if (!canArchive(t)) return t.pass()
    using trees = new Trees()
    for (let seed = first; seed <= SEEDS; seed += 2) {
      const home = join(mount(fileSystem), `seed-${seed}`)
      mkdirSync(home)
      t.deepEqual(await live(trees, home, seed), [], `seed ${seed}`)
      await trees.forget(home)
    }
  })
}
