import { randomUUID } from 'node:crypto'
import test from 'ava'
import { WIRE_VERSION } from '../../shared/wire/messages.ts'
import { readOrders } from './read-orders.ts'

const known = () => {
  const spec = { kind: 'dataset.create', target: { pool: 'a', dataset: randomUUID() } }
  return { jobId: randomUUID(), attempt: 1, spec, notAfter: null }
}

test('an order that cannot be read keeps none of those that came with it', (t) => {
  const [first, last] = [known(), known()]
  const newer = { ...known(), attempt: 3, spec: { kind: 'volume.teleport', place: {} } }
  const read = readOrders(JSON.stringify({ v: WIRE_VERSION, orders: [first, newer, { jobId: 'x' }, last] }))
  t.deepEqual(read.orders, [first, last])
  t.deepEqual(read.unknown, [{ jobId: newer.jobId, attempt: 3 }])
  t.regex(read.error ?? '', /spec/)
})

test('of another version, or of what is no message, nothing is read', (t) => {
  for (const text of [JSON.stringify({ v: WIRE_VERSION + 1, orders: [known()] }), '{"v":1', 'null']) {
    const { orders, unknown, error } = readOrders(text)
    t.deepEqual([orders, unknown], [[], []])
    t.truthy(error)
  }
  t.deepEqual(readOrders(JSON.stringify({ v: WIRE_VERSION, orders: [known()] })).error, undefined)
})
