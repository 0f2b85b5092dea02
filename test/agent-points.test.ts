import { randomUUID } from 'node:crypto'
import {
  appendFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { SpecOf } from '../shared/job-spec.ts'
import type { PointRef } from '../shared/point-spec.ts'
import { canMount } from './harness/loop-mount.ts'
import { failureOf, type PointOrders, pointOrders, refOf, SERIES, seen } from './harness/point-orders.ts'

function fill(root: string): void {
  mkdirSync(join(root, 'docs', 'deep'), { recursive: true })
  writeFileSync(join(root, 'docs', 'a.txt'), 'alpha\n')
  writeFileSync(join(root, 'docs', 'deep', 'big'), Buffer.alloc(9_000_000, 'abcdefg'))
  writeFileSync(join(root, 'empty'), '')
  symlinkSync('docs/a.txt', join(root, 'link'))
  linkSync(join(root, 'docs', 'a.txt'), join(root, 'hard'))
}

function change(root: string, round: number): void {
  appendFileSync(join(root, 'docs', 'a.txt'), `round ${round}\n`)
  writeFileSync(join(root, `new-${round}`), 'x'.repeat(round))
  if (round === 1) rmSync(join(root, 'empty'))
  if (round === 2) renameSync(join(root, 'docs', 'deep'), join(root, 'moved'))
}

/** A full point and two increments, and what the tree looked like at each. */
async function threePoints(orders: PointOrders): Promise<{ readonly refs: PointRef[]; readonly trees: string[] }> {
  const [refs, trees]: [PointRef[], string[]] = [[], []]
  fill(orders.root)
  for (let round = 0; round < 3; round += 1) {
    if (round > 0) change(orders.root, round)
    const spec = orders.create(refs)
    await orders.run(spec)
    refs.push(refOf(spec))
    trees.push(seen(orders.root))
  }
  return { refs, trees }
}

function readable(orders: PointOrders, refs: readonly PointRef[]) {
  const last = refs.at(-1)
  if (last === undefined) throw new Error('no points')
  return { target: orders.target, series: SERIES, pointId: last.id, chain: [...refs] }
}

function restoreTo(
  orders: PointOrders,
  refs: readonly PointRef[],
  destination: SpecOf<'point.restore'>['destination'],
  paths: string[] = [],
): SpecOf<'point.restore'> {
  return { kind: 'point.restore', ...readable(orders, refs), paths, destination }
}

async function orders(t: ExecutionContext, driver: 'btrfs' | 'copy'): Promise<PointOrders | undefined> {
  if (driver === 'btrfs' && !canMount(t)) return undefined
  return pointOrders(t, { driver })
}

for (const driver of ['btrfs', 'copy'] as const) {
  test(`${driver}: every point of a chain is restored as its tree was, into a new dataset`, async (t) => {
    const made = await orders(t, driver)
    if (made === undefined) return t.pass()
    const { refs, trees } = await threePoints(made)
    for (const at of trees.keys()) {
      const dataset = randomUUID()
      const destination = { kind: 'new', place: { pool: 'a', dataset } } as const
      const result = await made.run(restoreTo(made, refs.slice(0, at + 1), destination))
      t.is(result.made?.mountpoint, join(made.pool, dataset))
      t.is(result.made?.rootInode, statSync(join(made.pool, dataset)).ino)
      t.is(seen(join(made.pool, dataset)), trees[at] ?? '', `point ${at}`)
    }
    t.deepEqual(readdirSync(made.backups).toSorted(), ['backup-metadata', ...refs.map(({ name }) => name)].toSorted())
    t.is(readdirSync(made.pool).length, 4, 'no snapshot is left')
  })
}

test('files of a point are restored over and beside others', async (t) => {
  const made = await pointOrders(t)
  const { refs } = await threePoints(made)
  const place = { pool: 'a', dataset: made.dataset }
  await made.run(restoreTo(made, refs.slice(0, 1), { kind: 'dataset', place, path: '/back' }, ['docs/a.txt']))
  t.is(readFileSync(join(made.root, 'back'), 'utf8'), 'alpha\n')
  await made.run(restoreTo(made, refs, { kind: 'host', path: join(made.outside, 'docs') }, ['docs']))
  t.is(readFileSync(join(made.outside, 'docs', 'a.txt'), 'utf8'), 'alpha\nround 1\nround 2\n')
  const several = { kind: 'host', path: join(made.outside, 'several') } as const
  await made.run(restoreTo(made, refs, several, ['moved', 'new-2', 'hard']))
  t.deepEqual(readdirSync(several.path).toSorted(), ['hard', 'moved', 'new-2'])
  t.is(statSync(join(several.path, 'moved', 'big')).size, 9_000_000)
  const again = { ...restoreTo(made, refs, several, ['moved']) }
  t.is((await failureOf(t, made.run(again))).code, 'conflict')
  await made.run({ ...again, overwrite: true })
  t.deepEqual(readdirSync(several.path), ['big'])
  t.deepEqual(readdirSync(made.outside).toSorted(), ['docs', 'several'])
  t.false(existsSync(join(made.root, '.holdfast')))
})
