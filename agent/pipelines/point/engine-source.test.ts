import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Hold } from '../../../shared/instance-spec.ts'
import { instanceHost, tarNames, untar } from '../../../test/harness/instance-host.ts'
import { lacksPodman, openPodmanRoom, type PodmanRoom } from '../../../test/harness/podman-room.ts'
import { type PointOrders, pointOrders, refOf, SETTLED_MS } from '../../../test/harness/point-orders.ts'
import { testUnless } from '../../../test/harness/system-packages.ts'
import { until } from '../../../test/harness/until.ts'

const it = testUnless(await lacksPodman())

const source = (instance: string, hold: Hold) => ({
  source: { kind: 'instance' as const, place: { type: 'docker' as const, instance }, hold },
})

async function isCounting(room: PodmanRoom, id: string): Promise<number> {
  const ticks = () => Number(room.read(id, 'root/ticks'))
  const before = ticks()
  await until('it counts', () => ticks() > before)
  return ticks()
}

/** Without what the engine itself puts into a running root. */
const differences = (left: string, right: string) =>
  execFileSync(
    '/bin/sh',
    [
      '-c',
      'diff -r --no-dereference -x "ticks*" -x etc -x run -x proc -x sys -x dev "$1" "$2" || true',
      'sh',
      left,
      right,
    ],
    { stdio: 'pipe' },
  ).toString()

it('a container of an engine whose storage is in no pool is read paused, or stopped from a mount of our own', async (t) => {
  const room = openPodmanRoom()
  t.teardown(() => room.close())
  await room.serve()
  const orders = await pointOrders(t)
  const { tools } = instanceHost(orders, { dockerSocket: room.socketPath })
  const bound = join(room.folder, 'bound')
  mkdirSync(bound)
  writeFileSync(join(bound, 'file'), 'bound\n')
  const id = room.define('app', ['--volume', 'kept:/data', '--volume', `${bound}:/bound:ro`])
  room.podman('start', id)
  writeFileSync(join(room.podman('volume', 'inspect', '--format', '{{.Mountpoint}}', 'kept').trim(), 'row'), 'row\n')
  await isCounting(room, id)
  await pause(SETTLED_MS) // what changed within the last two seconds is read again
  const run = async (hold: Hold) => {
    const spec = orders.create([], source(id, hold))
    return { spec, made: await orders.run(spec, { tools }) }
  }

  const paused = await run('pause')
  t.like(paused.made, { consistency: 'crash', problemCount: 0, held: { kind: 'pause', intact: true } })
  const after = await isCounting(room, id)
  const tree = untar(orders, [paused.spec.name])
  t.is(readFileSync(join(tree, 'mounts/0/file'), 'utf8'), 'bound\n')
  t.is(readFileSync(join(tree, 'mounts/1/row'), 'utf8'), 'row\n')
  const ticks = Number(readFileSync(join(tree, 'rootfs/root/ticks'), 'utf8'))
  t.true(ticks > 0 && ticks < after)
  const { Id } = JSON.parse(readFileSync(join(tree, 'instance/config/container.json'), 'utf8'))
  t.is(Id, id)

  // An increment of a living root: the image's files are known again, although nobody took a snapshot of them.
  const next = orders.create([refOf(paused.spec)], source(id, 'pause'))
  t.like(await orders.run(next, { tools }), { full: false, fullReason: null })
  const names = execFileSync('/bin/sh', ['-c', `zstd -dcq ${orders.backups}/${next.name}/data.tar.zst | tar -t`])
  t.false(names.toString().includes('rootfs/bin/busybox'))

  // Stopped, its root is mounted nowhere: its layers are.
  const stopped = await run('stop')
  t.like(stopped.made, { consistency: 'crash', problemCount: 0, held: { kind: 'stop', intact: true } })
  await isCounting(room, id)
  t.is(differences(join(tree, 'rootfs'), join(untar(orders, [stopped.spec.name]), 'rootfs')), '')
  room.podman('stop', '--time', '0', id)
  const still = await run('pause')
  t.is(still.made.consistency, 'crash')
  t.is(still.made.held, undefined)
  t.is(differences(join(tree, 'rootfs'), join(untar(orders, [still.spec.name]), 'rootfs')), '')

  // The series has the image as the engine takes it back, made once.
  const image = join(orders.backups, 'image.tar')
  t.true(tarNames(image).includes('config/container.json') && tarNames(image).includes('manifest.json'))
  const { ino } = statSync(image)
  await run('none')
  t.is(statSync(image).ino, ino)
  room.podman('rm', id)
  room.podman('rmi', 'localhost/counter:1')
  room.podman('load', '--input', image)
  t.regex(room.podman('images', '--quiet', 'localhost/counter:1'), /^[0-9a-f]+\n$/)
})

it('layers of an engine that lie in a dataset are snapshots, and the container stands still for that alone', async (t) => {
  const orders: PointOrders = await pointOrders(t, { driver: 'btrfs' })
  const room = openPodmanRoom(join(orders.root, 'storage'))
  try {
    await room.serve()
    const { tools, snapshotMs } = instanceHost(orders, { dockerSocket: room.socketPath })
    const id = room.define('app', ['--volume', 'kept:/data'])
    room.podman('start', id)
    await isCounting(room, id)
    const spec = orders.create([], source(id, 'pause'))
    const made = await orders.run(spec, { tools })
    t.like(made, { consistency: 'crash', problemCount: 0, held: { kind: 'pause', intact: true } })
    t.is(snapshotMs.length, 1)
    t.log(`held ${made.held?.ms} ms, of it the snapshot ${snapshotMs[0]} ms`)
    const after = await isCounting(room, id)
    const tree = untar(orders, [spec.name])
    t.true(existsSync(join(tree, 'rootfs/bin/busybox')) && existsSync(join(tree, 'mounts/0')))
    t.true(Number(readFileSync(join(tree, 'rootfs/root/ticks'), 'utf8')) < after)
    const next = orders.create([refOf(spec)], source(id, 'pause'))
    t.like(await orders.run(next, { tools }), { full: false, fullReason: null })
    const names = execFileSync('/bin/sh', ['-c', `zstd -dcq ${orders.backups}/${next.name}/data.tar.zst | tar -t`])

    t.false(names.toString().includes('rootfs/bin/busybox'))
    t.deepEqual(orders.points.tools.own.all(), [])
  } finally {
    await room.close()
  }
})
