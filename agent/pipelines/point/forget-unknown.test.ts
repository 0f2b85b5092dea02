import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
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
