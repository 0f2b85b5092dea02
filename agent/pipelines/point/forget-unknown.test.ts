import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { FleetError } from '../../../shared/errors.ts'
import { pointOrders } from '../../../test/harness/point-orders.ts'
import { forgetUnknown } from './forget-unknown.ts'

const unwatched = { signal: new AbortController().signal, progress: () => undefined }

test('what is kept for points that others deleted goes, and nothing else', async (t) => {
  const { tools, driver, pool, dataset } = await pointOrders(t)
  const { own, indexes } = tools.points
  const [kept, gone, job, old] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()]
  for (const id of [kept, gone, job]) await driver.snapshot({ source: dataset, target: id, readonly: true }, unwatched)
  for (const id of [kept, gone])
    own.claim({ pool: 'a', dataset: id, use: { kind: 'base', source: dataset, series: id, at: 1 } })
  own.claim({ pool: 'a', dataset: job, use: { kind: 'job', jobId: job } })
  for (const id of [kept, gone, old, 'no-id']) mkdirSync(join(indexes, id))
  const days = 86_400_000
  utimesSync(join(indexes, old), new Date(), new Date(Date.now() - 31 * days))
  const asked: string[] = []
  const known = async (ids: readonly string[]) => {
    asked.push(...ids)
    return [kept]
  }
  t.deepEqual(await forgetUnknown(tools, known, Date.now()), { bases: 1, indexes: 1 })
  t.deepEqual(asked.toSorted(), [kept, gone, old].toSorted())
  t.deepEqual(readdirSync(pool).toSorted(), [dataset, kept, job].toSorted())
  t.false(own.has(gone, 'base'))
  t.deepEqual(readdirSync(indexes).toSorted(), [kept, gone, 'no-id'].toSorted())
  t.deepEqual(await forgetUnknown(tools, known, Date.now() + 40 * days), { bases: 0, indexes: 1 })
  t.false(existsSync(join(indexes, gone)))
  await t.throwsAsync(
    forgetUnknown(tools, () => Promise.reject(new Error('no answer')), Date.now()),
    { message: 'no answer' },
  )
  t.true(own.has(kept, 'base'))
})

test('one that cannot be dropped now keeps none of the others', async (t) => {
  const { tools, driver, pool, dataset } = await pointOrders(t)
  const { own } = tools.points
  const [away, gone] = [randomUUID(), randomUUID()]
  await driver.snapshot({ source: dataset, target: gone, readonly: true }, unwatched)
  for (const [id, of] of [
    [away, 'away'],
    [gone, 'a'],
  ] as const)
    own.claim({ pool: of, dataset: id, use: { kind: 'base', source: dataset, series: id, at: 1 } })
  const found = (name: string) => {
    if (name === 'a') return driver
    throw new FleetError('not_found', `host 'x' has no pool '${name}'`)
  }
  await t.throwsAsync(
    forgetUnknown({ ...tools, driver: found }, async () => [], Date.now()),
    { message: /no pool 'away'/ },
  )
  t.deepEqual(readdirSync(pool), [dataset])
  t.deepEqual([own.has(away, 'base'), own.has(gone, 'base')], [true, false])
})
