import { randomUUID } from 'node:crypto'
import { readdirSync } from 'node:fs'
import test from 'ava'
import { FleetError } from '../../../shared/errors.ts'
import { pointOrders } from '../../../test/harness/point-orders.ts'
import { dropSuperseded } from './base-snapshots.ts'

const unwatched = { signal: new AbortController().signal, progress: () => undefined }

test('one that cannot be destroyed does not keep what is superseded of others', async (t) => {
  const { tools, points, driver, pool, dataset } = await pointOrders(t)
  const { own } = tools.points
  const make = async (series: string, at: number) => {
    const id = randomUUID()
    await driver.snapshot({ source: dataset, target: id, readonly: true }, unwatched)
    own.claim({ pool: 'a', dataset: id, use: { kind: 'base', source: dataset, series, at } })
    return id
  }
  const [stuck, , gone, ...kept] = [await make('x', 1), await make('x', 2), await make('y', 1), await make('y', 2)]
  const destroy: typeof driver.destroy = async (id, watch) => {
    if (id === stuck) throw new FleetError('conflict', 'the file system or dataset is read-only')
    await driver.destroy(id, watch)
  }
  dropSuperseded({ ...tools, driver: () => ({ ...driver, destroy }) })
  await points.idle()
  t.deepEqual([own.has(stuck, 'base'), own.has(gone, 'base'), own.has(kept[0] ?? '', 'base')], [true, false, true])
  t.is(readdirSync(pool).length, 4)
})
