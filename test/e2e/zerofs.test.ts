import { mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import test from 'ava'
import { createExampleRecorder } from '../harness/examples.ts'
import { startFleet } from '../harness/fleet.ts'
import { canMount, mountLoop } from '../harness/loop-mount.ts'
import { readExchanges, replay } from '../harness/replay.ts'
import { startStopwatch } from '../harness/stopwatch.ts'
import { until } from '../harness/until.ts'

const EXCHANGES = resolve(import.meta.dirname, '../../control-plane/dialects/zerofs/exchanges')

test.serial("the document's exchanges, on btrfs", async (t) => {
  if (!canMount(t)) return t.pass()
  const pool = mountLoop(t, 'btrfs')
  const fleet = await startFleet(t, { agents: [{ name: 'a', driver: 'btrfs', path: pool }] })
  const { onStep, compareWith } = createExampleRecorder()
  const target = { baseUrl: fleet.url(), token: fleet.token, onStep }
  const differences = await replay(await readExchanges(EXCHANGES), target)
  t.deepEqual(differences, [])
  t.deepEqual(await compareWith(resolve(EXCHANGES, '../examples.json')), [], 'HOLDFAST_RECORD=1 records them anew')
  await fleet.quiet()
})

test.serial('what a CSI driver does, with real data', async (t) => {
  if (!canMount(t)) return t.pass()
  const pool = mountLoop(t, 'btrfs')
  const fleet = await startFleet(t, { agents: [{ name: 'a', driver: 'btrfs', path: pool }] })
  const { body: dataset } = await fleet.call('POST', '/api/v1/datasets', { name: 'pvc-1' })
  const root = dataset.mountpoint
  t.is(statSync(root).ino, dataset.root_inode)
  mkdirSync(join(root, 'volumes/a'), { recursive: true })
  writeFileSync(join(root, 'volumes/a/data.txt'), 'first')
  symlinkSync('data.txt', join(root, 'volumes/a/link'))
  t.is((await fleet.call('POST', '/api/v1/snapshots', { source: 'pvc-1', name: 's1', readonly: true })).status, 201)
  writeFileSync(join(root, 'volumes/a/data.txt'), 'second, and longer')

  const file = await fleet.call('POST', '/api/v1/snapshots/restore', {
    snapshot: 's1',
    source: '/volumes/a/data.txt',
    destination: '/restored.txt',
  })
  const { ino } = statSync(join(root, 'restored.txt'))
  t.deepEqual(file.body, {
    inode_id: ino,
    file_size: 5,
    message: `File restored instantly (COW) - no data copied. Inode: ${ino}, Size: 5 bytes`,
  })
  t.is(readFileSync(join(root, 'restored.txt'), 'utf8'), 'first')

  const tree = await fleet.call('POST', '/api/v1/snapshots/restore', {
    snapshot: 's1',
    source: '/volumes/a',
    destination: '/volumes/b',
  })
  t.is(tree.status, 200)
  t.is(readFileSync(join(root, 'volumes/b/link'), 'utf8'), 'first')

  const outside = await fleet.call('POST', '/api/v1/snapshots/restore', {
    snapshot: 's1',
    source: '/volumes/a/data.txt',
    destination: join(fleet.backends.folder, 'out.txt'),
  })
  t.deepEqual(outside.body, { inode_id: 0, file_size: 5, message: 'File restored (copy-based). Size: 5 bytes' })
  t.is(readFileSync(join(fleet.backends.folder, 'out.txt'), 'utf8'), 'first')

  const forbidden = await fleet.call('POST', '/api/v1/snapshots/restore', {
    snapshot: 's1',
    source: '/volumes/a/data.txt',
    destination: '/root/x',
  })
  t.is(forbidden.status, 500)
  t.is(forbidden.body.error, 'WRITE_DESTINATION_FAILED')
  await fleet.quiet()
})

test.serial('an existing destination is replaced only as far as that was asked', async (t) => {
  if (!canMount(t)) return t.pass()
  const pool = mountLoop(t, 'btrfs')
  const fleet = await startFleet(t, { agents: [{ name: 'a', driver: 'btrfs', path: pool }] })
  const root = (await fleet.call('GET', '/api/v1/datasets/root')).body.mountpoint
  mkdirSync(join(root, 'd'))
  writeFileSync(join(root, 'd/kept'), 'old')
  await fleet.call('POST', '/api/v1/snapshots', { source: 'root', name: 's' })
  writeFileSync(join(root, 'd/kept'), 'new')
  const restore = (over: object) =>
    fleet.call('POST', '/api/v1/snapshots/restore', { snapshot: 's', source: '/d', destination: '/d', ...over })

  const refused = await restore({})
  t.is(refused.status, 500)
  t.is(refused.body.error, 'INSTANT_RESTORE_FAILED')
  t.is(readFileSync(join(root, 'd/kept'), 'utf8'), 'new')
  t.is((await restore({ overwrite: true })).status, 200)
  t.is(readFileSync(join(root, 'd/kept'), 'utf8'), 'old')
  t.is((await restore({ source: '/d/kept', destination: '/d/kept', overwrite: false })).status, 500)
  t.is((await restore({ source: '/d/kept', destination: '/d/kept' })).status, 200)
})

test.serial('an offline host is refused within five seconds, and what was refused does not run later', async (t) => {
  const fleet = await startFleet(t, { agents: [{ name: 'a', driver: 'sim' }] })
  await fleet.agent('a').signal('SIGSTOP')
  const stopwatch = startStopwatch()
  const silent = await fleet.call('POST', '/api/v1/datasets', { name: 'x' })
  t.is(silent.status, 503)
  t.is(silent.body.error, 'RPC_CONNECTION_FAILED')
  t.true(stopwatch.within(5_000), `${stopwatch}`)

  await fleet.agent('a').signal('SIGCONT')
  await fleet.quiet()
  t.is((await fleet.call('GET', '/api/v1/datasets/x')).status, 404)
  t.is((await fleet.call('POST', '/api/v1/datasets', { name: 'x' })).status, 201)
})

test.serial('a host that is gone is refused at once', async (t) => {
  const fleet = await startFleet(t, { agents: [{ name: 'a', driver: 'sim' }] })
  await fleet.agent('a').signal('SIGKILL')
  await until(
    'the host is seen to be offline',
    async () => (await fleet.call('GET', '/api/v1/hosts/a')).body.state === 'offline',
    60_000,
  )
  const before = await fleet.sql('select count(*)::int as n from job')
  const { status } = await fleet.call('POST', '/api/v1/datasets', { name: 'x' })
  t.is(status, 503)
  t.deepEqual(await fleet.sql('select count(*)::int as n from job'), before)
})
