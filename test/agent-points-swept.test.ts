import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { parentOf } from '../agent/transfer/target-path.ts'
import type { Target } from '../agent/transfer/transfer.ts'
import { FleetError } from '../shared/errors.ts'
import { fill, type PointOrders, pointOrders } from './harness/point-orders.ts'

/**
 * The orders' own target as S3 is: directories need not be made, and none can be renamed.
 * @param act is told of each call before it is made; what it throws is what the target answers
 */
function asObjects({ tools }: PointOrders, act: (call: keyof Target) => void): PointOrders['tools'] {
  const { points } = tools
  const wrapped = (target: Target): Target => {
    const put: Target['put'] = async (path, options) => {
      await target.mkdir(parentOf(path), options)
      return target.put(path, options)
    }
    return new Proxy(target, {
      get(_, name: keyof Target) {
        if (name === 'features') return { ...target.features, renameDirectory: false }
        const member: unknown = name === 'put' ? put : target[name]
        if (typeof member !== 'function') return member
        return async (...given: unknown[]) => {
          act(name)
          return member.apply(target, given)
        }
      },
    })
  }
  const lease: typeof points.lease = async (request) => {
    const leased = await points.lease(request)
    return { ...leased, target: wrapped(leased.target) }
  }
  return { ...tools, points: { ...points, lease } }
}

test('what a deletion could not clear away, as the target went away, goes with the next order of the series', async (t) => {
  const made = await pointOrders(t)
  fill(made.root)
  const sound = asObjects(made, () => undefined)
  const point = made.create()
  const { target, series, pointId, name } = point
  await made.run(point, { tools: sound })
  await made.run(made.create(), { tools: sound })
  const directory = join(made.backups, name)
  const goes = asObjects(made, () => {
    if (!existsSync(join(directory, 'sums'))) throw new FleetError('unavailable', 'the target is away')
  })
  await made.run({ kind: 'point.delete', target, series, pointId, name }, { tools: goes })
  t.true(readdirSync(directory).length > 1, 'it is no point any more, and lies there')
  await made.run(made.create(), { tools: sound })
  t.false(existsSync(directory))
  t.is(readdirSync(made.backups).filter((entry) => entry.startsWith('2026')).length, 2)
})

test('what is left of an earlier order, and cannot be removed, fails no later one', async (t) => {
  const made = await pointOrders(t)
  fill(made.root)
  await made.run(made.create())
  const [left, removable] = ['20250101T000000Z.own.partial', '20250102T000000Z.own.partial']
  for (const name of [left, removable]) mkdirSync(join(made.backups, name))
  const { points } = made.tools
  const lease: typeof points.lease = async (request) => {
    const leased = await points.lease(request)
    const removeTree: Target['removeTree'] = async (path, options) => {
      if (path.endsWith(left)) throw new FleetError('refused', 'the server does not permit it')
      await leased.target.removeTree(path, options)
    }
    const target = new Proxy(leased.target, {
      get: (of, name: keyof Target) => {
        const member: unknown = name === 'removeTree' ? removeTree : of[name]
        return typeof member === 'function' ? member.bind(of) : member
      },
    })
    return { ...leased, target }
  }
  const tools = { ...made.tools, points: { ...points, lease } }
  const next = made.create()
  t.like(await made.run(next, { tools }), { full: true })
  t.true(existsSync(join(made.backups, next.name, 'sums')))
  t.true(existsSync(join(made.backups, left)))
  await made.run(made.create())
  t.deepEqual(
    readdirSync(made.backups).filter((name) => name.endsWith('.partial')),
    [],
  )
})
