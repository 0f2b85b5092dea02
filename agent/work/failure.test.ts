import test from 'ava'
import { FleetError } from '../../shared/errors.ts'
import { failureOf } from './failure.ts'

/** What NATS takes. */
const MESSAGE_BYTES = 2 ** 20

test('a failure that names long paths fits one message, with the first of them', (t) => {
  // What a path of bytes that are no text is shown as: three bytes each.
  const members = Array.from({ length: 100 }, (_, n) => `${n}/${'\ufffd'.repeat(4_000)}`)
  const error = new FleetError('corrupt', `member '${'\u0001'.repeat(2 ** 20)}'`, { members, blockers: members })
  const failure = failureOf(error)
  t.true(Buffer.byteLength(JSON.stringify(failure)) < MESSAGE_BYTES / 2)
  const told = failure.members ?? []
  t.true(told.length > 1)
  t.deepEqual(told, members.slice(0, told.length))
  t.deepEqual(failure.blockers, told)
  const short = new FleetError('corrupt', 'damaged', { members: ['a', 'b'] })
  t.deepEqual(failureOf(short), { code: 'corrupt', message: 'damaged', members: ['a', 'b'] })
})
