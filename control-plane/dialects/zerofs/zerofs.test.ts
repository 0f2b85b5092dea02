import { join } from 'node:path'
import test from 'ava'
import { FleetError } from '../../../shared/errors.ts'
import { startListener } from '../../../test/harness/fake-listener.ts'
import { readExchanges, replay } from '../../../test/harness/replay.ts'
import { resolveDestination } from './destination.ts'

const SNAPSHOT = { source: 'root', name: 'snap' }

/** The fake core knows no paths: exchanges that need a real tree are for the fleet's own replay. */
const NEEDS_A_TREE = /^Restore/

test('the documented exchanges that need no real tree', async (t) => {
  const { url } = await startListener(t)
  const exchanges = await readExchanges(join(import.meta.dirname, 'exchanges'))
  const replayed = exchanges.filter(({ title }) => !NEEDS_A_TREE.test(title))
  t.true(replayed.length > 3)
  t.deepEqual(await replay(replayed, { baseUrl: url, token: 'operator-token' }), [])
})

test('a restore inside says COW and the inode, to the letter', async (t) => {
  const { ask, fake } = await startListener(t)
  await ask('POST', '/api/v1/snapshots', { body: SNAPSHOT })
  const body = { snapshot: 'snap', source: '/volumes/a', destination: '/volumes/b' }
  const answer = await ask('POST', '/api/v1/snapshots/restore', { body })
  t.is(answer.status, 200)
  t.deepEqual(answer.json, {
    inode_id: 123,
    file_size: 1024,
    message: 'File restored instantly (COW) - no data copied. Inode: 123, Size: 1024 bytes',
  })
  t.truthy(answer.headers.get('x-job-id'))
  t.like(fake.restores[0], { snapshot: 'snap', destination: { kind: 'dataset', path: '/volumes/b' } })
})

test('a restore outside is copy-based with inode 0', async (t) => {
  const { ask, fake } = await startListener(t)
  await ask('POST', '/api/v1/snapshots', { body: SNAPSHOT })
  const body = { snapshot: 'snap', source: '/a', destination: '/tmp/restored-file.txt' }
  const answer = await ask('POST', '/api/v1/snapshots/restore', { body })
  t.deepEqual(answer.json, { inode_id: 0, file_size: 1024, message: 'File restored (copy-based). Size: 1024 bytes' })
  t.like(fake.restores[0], { destination: { kind: 'host', path: '/tmp/restored-file.txt' } })
})

test('COW is never claimed where bytes were copied, and a directory has size 0', async (t) => {
  const { ask, fake } = await startListener(t)
  await ask('POST', '/api/v1/snapshots', { body: SNAPSHOT })
  const body = { snapshot: 'snap', source: '/', destination: '/restored-volume' }
  fake.restoreResult = { type: 'directory', inode: 9, fileSize: 0, files: 3, bytes: 30, cow: false }
  const copied = await ask('POST', '/api/v1/snapshots/restore', { body })
  t.deepEqual(copied.json, { inode_id: 9, file_size: 0, message: 'Directory restored (copy-based). Size: 0 bytes' })
  fake.restoreResult = { type: 'directory', inode: 9, fileSize: 0, files: 3, bytes: 0, cow: true }
  const shared = await ask('POST', '/api/v1/snapshots/restore', { body })
  t.is(shared.json.message, 'Directory restored instantly (COW) - no data copied. Inode: 9, Size: 0 bytes')
})

test('a refused host path is WRITE_DESTINATION_FAILED, a bad source on the way there is not', async (t) => {
  const { ask, fake } = await startListener(t)
  await ask('POST', '/api/v1/snapshots', { body: SNAPSHOT })
  const body = { snapshot: 'snap', source: '/a', destination: '/etc/passwd' }
  fake.failNextJob = new FleetError('refused', 'the path is not below an allowed one')
  const refused = await ask('POST', '/api/v1/snapshots/restore', { body })
  t.like(refused, { status: 500, json: { error: 'WRITE_DESTINATION_FAILED' } })
  t.truthy(refused.headers.get('x-job-id'))
  fake.failNextJob = new FleetError('invalid', 'Source path must be a file or directory')
  t.like(await ask('POST', '/api/v1/snapshots/restore', { body }), {
    status: 500,
    json: { error: 'INSTANT_RESTORE_FAILED', message: 'Source path must be a file or directory' },
  })
})

test('restoring from what is not a snapshot is a failed restore; a relative path is a bad request', async (t) => {
  const { ask } = await startListener(t)
  const body = { snapshot: 'root', source: '/a', destination: '/b' }
  const answer = await ask('POST', '/api/v1/snapshots/restore', { body })
  t.like(answer, { status: 500, json: { error: 'INSTANT_RESTORE_FAILED', message: "'root' is not a snapshot" } })
  t.like(await ask('POST', '/api/v1/snapshots/restore', { body: { ...body, source: 'a' } }), {
    status: 400,
    json: { error: 'INVALID_REQUEST', message: "source: must begin with '/'" },
  })
})

test('a mutation that outlasts the wait is 500 with the job id in its message', async (t) => {
  const { ask, fake } = await startListener(t)
  fake.failNextJob = new FleetError('timeout', 'the job has not ended yet')
  const answer = await ask('POST', '/api/v1/datasets', { body: { name: 'a' } })
  const jobId = answer.headers.get('x-job-id') ?? 'none'
  t.like(answer, { status: 500, json: { error: 'CREATE_DATASET_FAILED' } })
  t.true(answer.json.message.includes(jobId))
})

test('a host that fell silent after the order is 503', async (t) => {
  const { ask, fake } = await startListener(t)
  fake.failNextJob = new FleetError('unavailable', 'the host did not answer')
  const answer = await ask('POST', '/api/v1/datasets', { body: { name: 'a' } })
  t.like(answer, { status: 503, json: { error: 'RPC_CONNECTION_FAILED', message: 'the host did not answer' } })
})

test('what stands in the way of a deletion is named', async (t) => {
  const { ask } = await startListener(t)
  await ask('POST', '/api/v1/datasets', { body: { name: 'a' } })
  await ask('POST', '/api/v1/datasets', { body: { name: 'b', tags: { needs: 'a' } } })
  t.like(await ask('DELETE', '/api/v1/datasets/a'), {
    status: 500,
    json: { error: 'DELETE_DATASET_FAILED', message: "'a' is needed (blocked by b)" },
  })
})

test('answers may add where the dataset lives', async (t) => {
  const { ask } = await startListener(t)
  const { json } = await ask('POST', '/api/v1/datasets', { body: { name: 'a', tags: { app: 'x' } } })
  t.like(json, { host: 'host-a', pool: 'tank', driver: 'sim', mountpoint: '/tank/a', cow: true, tags: { app: 'x' } })
  t.is(json.created_at, 1767323045)
})

test('inside and outside', (t) => {
  const kindOf = (path: string, dataset?: string) => resolveDestination(path, dataset).kind
  for (const path of [
    '/volumes/pvc-yyy/file.txt',
    '/data.txt',
    '/restored-volume',
    '/',
    '/tmp',
    '/tmpfile',
    '/library/a',
    '/homes/x',
  ]) {
    t.is(kindOf(path), 'dataset', path)
  }
  for (const path of [
    '/tmp/a',
    '/home/u/a',
    '/root/a',
    '/etc/passwd',
    '/lib64/x',
    '//tmp/a',
    '/./tmp/./a',
    '/tmp//a',
  ]) {
    t.is(kindOf(path), 'host', path)
  }
  t.is(kindOf('/etc/passwd', 'root'), 'dataset')
  t.deepEqual(resolveDestination('//tmp/./a', undefined), { kind: 'host', path: '/tmp/a' })
  t.deepEqual(resolveDestination('/a//b/', undefined), { kind: 'dataset', path: '/a/b/' })
  t.is(resolveDestination('/volumes/../tmp/a', undefined).path, '/volumes/../tmp/a')
})
