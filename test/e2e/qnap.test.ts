import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { createExampleRecorder } from '../harness/examples.ts'
import { startFleet } from '../harness/fleet.ts'
import { temporaryDirectory } from '../harness/loop-mount.ts'
import { readExchanges, replay } from '../harness/replay.ts'

const EXCHANGES = join(import.meta.dirname, '../../control-plane/dialects/qnap/exchanges')
/** No agent goes there, unless it is told to. */
const SILENT = '127.0.0.1:9'
const WRITERS = 8

function startKeeper(t: ExecutionContext) {
  const environment = { HOLDFAST_AGENT_BACKUP_ROOT: temporaryDirectory(t) }
  return startFleet(t, { agents: [{ name: 'a', driver: 'copy', path: temporaryDirectory(t), environment }] })
}

test('the documented exchanges about targets, and a backup among the local folders', async (t) => {
  const fleet = await startKeeper(t)
  const { body: made } = await fleet.call('POST', '/api/v1/points', { source: { dataset: 'root' }, path: 'nightly' })
  t.is((await fleet.ended(made.job_id)).state, 'succeeded')
  const exchanges = (await readExchanges(EXCHANGES)).filter(({ title }) => title.startsWith('Targets'))
  t.is(exchanges.length, 2)
  const localDirs = [{ is_dir: true, name: 'nightly', type: 'd', write: true }]
  const variables = { silent: SILENT, localDirs }
  const { onStep, compareWith } = createExampleRecorder()
  t.deepEqual(await replay(exchanges, { baseUrl: fleet.url(), token: fleet.token, variables, onStep }), [])
  t.deepEqual(await compareWith(join(EXCHANGES, '../examples.json')), [], 'HOLDFAST_RECORD=1 records them anew')
  const below = await fleet.call('GET', '/container-station/api/v1/target/local/dirs/nightly?host=a')
  t.like(below, { status: 200, body: { length: 1, 0: { name: 'dataset-backup@root', type: 'b', is_dir: true } } })
  t.is(below.body[0].points.length, 1)
})

test('what several change of one target at once is all there; the password is nowhere', async (t) => {
  const fleet = await startKeeper(t)
  const given = { name: 'site', ipaddr: '192.0.2.7', username: 'admin', password: 'hidden-password', base: '/' }
  const { body } = await fleet.call('POST', '/api/v1/target', given)
  const path = `/api/v1/target/${body.id}`
  const changes = [
    { desc: 'anew' },
    { base: '/deep' },
    { username: 'other' },
    { ipaddr: '192.0.2.8:8443' },
    { encrypt: true },
    { name: 'renamed' },
    { verify: 'server' },
    { password: 'hidden-anew' },
  ]
  t.is(changes.length, WRITERS)
  const answers = await Promise.all(changes.map((change) => fleet.call('PUT', path, change)))
  t.deepEqual(
    answers.map(({ status }) => status),
    answers.map(() => 200),
  )
  t.deepEqual((await fleet.call('GET', path)).body, {
    id: body.id,
    name: 'renamed',
    desc: 'anew',
    ipaddr: '192.0.2.8:8443',
    username: 'other',
    base: '/deep',
    encrypt: true,
    verify: 'server',
  })
  const [target] = await fleet.sql('select row_to_json(target)::text as text from target')
  const rows = await fleet.sql('select row_to_json(audit)::text as text from audit')
  const events = await fleet.call('GET', '/api/v1/events?since=0&timeout=0')
  const told = JSON.stringify([target, rows, events.body]) + (fleet.planes[0]?.log() ?? '') + fleet.agent('a').log()
  t.notRegex(told, /hidden-/)
  const key = { 'idempotency-key': 'same' }
  const twice = { ...given, name: 'twice' }
  const first = await fleet.call('POST', '/api/v1/target', twice, { headers: key })
  const second = await fleet.call('POST', '/api/v1/target', twice, { headers: key })
  t.is(second.body.id, first.body.id)
  t.is(second.headers.get('idempotent-replayed'), 'true')
})
