import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { ext4Disk, readExt4 } from '../harness/ext4-disk.ts'
import { holdSession, type Login, lacksInitiator, onLun } from '../harness/initiator.ts'
import { temporaryDirectory } from '../harness/loop-mount.ts'
import { litterIn, pointHost, pointUser } from '../harness/point-fleet.ts'
import { runRestore } from '../harness/restore-run.ts'
import { sharedFleet } from '../harness/shared-fleet.ts'
import { stepsIn } from '../harness/steps.ts'
import { lacksServers, lacksTool, testUnless } from '../harness/system-packages.ts'
import { until } from '../harness/until.ts'

const lacks =
  lacksServers() ??
  lacksTool('mkfs.btrfs', 'mkfs.ext4', 'e2fsck', 'debugfs', 'tgtd', 'zstd') ??
  lacksInitiator() ??
  (process.geteuid?.() === 0 ? undefined : 'mounting a loop image needs root')
const it = testUnless(lacks)

const MIB = 2 ** 20
const WAIT_MS = 60_000
/** A session takes a process. */
const WRITE_EVERY_MS = 250
const SIZE_BYTES = 40 * MIB
/** The file system; behind it, what somebody writes all the time. */
const SYSTEM_BYTES = 24 * MIB
const DISK = 'a-pool/vm/disk'
const RIGHT = 'iqn.2026-01.test:right'
const WWN = 'iqn.2026-01.test:disk'
const volumeAt = (path: string, rest = '') => `/api/v1/volumes/${encodeURIComponent(path)}${rest}`
/** Of a job: the point's series, and until it has an image the volume. */
const HELD_LANES = 'select count(*)::int as lanes from lane_hold where job_id = $1'
const hashOf = (image: string) => createHash('sha256').update(readFileSync(image)).digest('hex')

const WWNS = `/api/v1/exports/${encodeURIComponent(WWN)}`

const at = sharedFleet(test, (scope) => {
  if (lacks !== undefined) return undefined
  const steps = stepsIn(temporaryDirectory(scope))
  const { HOLDFAST_TEST_STEPS = '', NODE_OPTIONS = '' } = steps.environment
  const host = pointHost(scope, { environment: { HOLDFAST_TEST_STEPS, NODE_OPTIONS } })
  return { steps, host, agents: [host.wish] }
})

/** The fleet, its one host, and what is done with volumes there. */
function roomOf(t: ExecutionContext) {
  const { fleet, host, steps } = at(t)
  const call = async (method: string, path: string, body?: unknown) => {
    const answer = await fleet.call(method, path, body)
    if (answer.status >= 400) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
    return answer.body
  }
  return {
    ...{ fleet, host, steps, call, user: pointUser(t, fleet) },
    async volume(name: string, sizeBytes: number): Promise<string> {
      return (await call('POST', '/api/v1/volumes', { name, size_bytes: sizeBytes, create_parent: true })).device
    },
    device: async (path: string): Promise<string> => (await call('GET', volumeAt(path))).device,
    async exported(volume: string): Promise<Login> {
      const { portal, lun } = await call('POST', '/api/v1/exports', { volume, wwn: WWN, initiators: [RIGHT] })
      return { portal, target: WWN, lun, initiator: RIGHT }
    },
    snapshot: (name: string) => call('POST', volumeAt(DISK, '/snapshots'), { name }),
    image: (snapshot: string) => join(host.pool, 'volumes', 'vm+', 'disk@', `${snapshot}.raw`),
    /** What the agent keeps of volumes for points. */
    captures(): readonly string[] {
      const files = readdirSync(join(host.pool, 'volumes', '.points'), { recursive: true, withFileTypes: true })
      return files.filter((file) => file.isFile()).map(({ parentPath, name }) => join(parentPath, name))
    },
    async gone() {
      t.is((await fleet.call('DELETE', `${WWNS}?delete_volume=true`)).status, 204)
      await fleet.quiet(WAIT_MS)
      t.deepEqual(litterIn(host.backups, host.pool), [])
      t.deepEqual(readdirSync(join(host.pool, 'volumes', '.staged')), [])
    },
  }
}

/** Writes behind the file system, in a session of its own each time, until it is told to stop. */
function keepWriting(login: Login) {
  let isOver = false
  let rounds = 0
  const writing = (async () => {
    while (!isOver) {
      const places = [0, 3, 5, 9].map((n) => SYSTEM_BYTES + ((rounds * 7 + n) % 15) * MIB)
      await onLun(login, ...places.map((at) => `write -P ${(rounds % 255) + 1} ${at} 256k`), 'flush')
      rounds += 1
      await delay(WRITE_EVERY_MS)
    }
  })()
  return {
    rounds: () => rounds,
    async end() {
      isOver = true
      await writing
    },
  }
}

it('a disk that is written to all the time is backed up, and each of its points is what its snapshot was', async (t) => {
  const room = roomOf(t)
  const { fleet, host, user } = room
  await room.volume('vm/disk', SIZE_BYTES)
  const login = await room.exported(DISK)
  const disk = ext4Disk(temporaryDirectory(t), SYSTEM_BYTES)
  const writer = keepWriting(login)
  t.teardown(() => writer.end())
  const points: { id: string; hash: string; location: string }[] = []
  for (const round of [0, 1, 2, 3]) {
    disk.add(`file-${round}`, Buffer.from(`round ${round}\n`.repeat(1_000)))
    if (round === 0) disk.add('large', randomBytes(4 * MIB))
    await disk.flush(login)
    const begun = writer.rounds()
    const point = await user.good({ source: { volume: DISK }, incremental: true })
    await until('somebody has written since', () => writer.rounds() > begun)
    t.deepEqual(point.source, { volume: DISK, volume_id: point.source.volume_id, snapshot: null })
    t.deepEqual(
      point.chain,
      points.map(({ id }) => id),
    )
    if (round > 0) t.true(point.source_bytes < 8 * MIB, `${point.source_bytes} bytes of a disk of which little changed`)
    // Only what the next increment is compared with is kept.
    const kept = room.captures()
    t.is(kept.length, 1, kept.join())
    points.push({ id: point.id, hash: hashOf(kept[0] ?? ''), location: point.location.path })
  }
  await writer.end()
  t.is(new Set(points.map(({ hash }) => hash)).size, points.length)

  for (const [n, { id, hash }] of points.entries()) {
    const volume = `a-pool/back/${n}`
    await user.done(`/${id}/restore`, { destination: { volume, create_parent: true } })
    const device = await room.device(volume)
    t.is(hashOf(device), hash, `point ${n}`)
    t.is(readExt4(device, `file-${n}`).slice(0, 8), `round ${n}\n`)
  }
  const into = join(host.outside, 'script')
  mkdirSync(into)
  const [, second, , last] = points
  if (second === undefined || last === undefined) return t.fail()
  const tools = ['tar', 'zstd', 'sha256sum', 'cat', 'dd', 'rm']
  const script = runRestore({ point: last.location, into, bin: join(host.outside, 'bin'), tools })
  t.is(script.status, 0, script.complaint)
  t.is(hashOf(join(into, 'image')), last.hash)
  await user.done(`/${last.id}/rehearse`)

  // Over the disk itself, once nobody has it open.
  const session = await holdSession(login)
  t.teardown(() => session.end())
  const over = { destination: { volume: DISK }, overwrite: true }
  const held = await fleet.call('POST', `/api/v1/points/${second.id}/restore`, over)
  t.like(held, { status: 409, body: { error: { blockers: [`export ${WWN}`] } } })
  await session.end()
  await until('the session has ended', async () => {
    const { sessions } = (await fleet.call('GET', WWNS)).body
    return sessions?.length === 0
  })
  t.is((await fleet.call('POST', `/api/v1/points/${second.id}/restore`, { ...over, overwrite: false })).status, 409)
  await user.done(`/${second.id}/restore`, over)
  t.is(hashOf(await room.device(DISK)), second.hash)
  t.truthy(await onLun(login, `write -P 9 ${SYSTEM_BYTES} 64k`, 'flush'))
  t.not(hashOf(await room.device(DISK)), second.hash, 'its export serves what was restored')
  // The next increment is compared with what it was before that.
  const next = await user.good({ source: { volume: DISK }, incremental: true })
  await user.done(`/${next.id}/restore`, { destination: { volume: 'a-pool/back/next' } })
  t.is(hashOf(await room.device('a-pool/back/next')), hashOf(await room.device(DISK)))

  for (const { id } of [next, ...points.toReversed()]) await user.remove(id)
  t.deepEqual(room.captures(), [])
  await room.gone()
})

it('whatever kills an agent that rolls a volume back, the volume is what it was or what it is to be', async (t) => {
  const room = roomOf(t)
  const { fleet, steps } = room
  const device = await room.volume('vm/disk', 8 * MIB)
  const login = await room.exported(DISK)
  const write = (byte: number) => onLun(login, `write -P ${byte} 0 2M`, 'flush')
  await write(1)
  await room.snapshot('old')
  await write(2)
  await room.snapshot('newer')
  const old = hashOf(room.image('old'))
  const newer = hashOf(room.image('newer'))

  const kills = [
    ['stage', 'before', 10],
    ['swap', 'before', 3],
  ] as const
  const safeties: string[] = []
  for (const [n, [step, place, killAfterMs]] of kills.entries()) {
    t.truthy(await write(10 + n))
    const before = hashOf(device)
    steps.set({ step, place, act: { killAfterMs } })
    const { job_id: jobId, safety } = await room.call('POST', volumeAt(DISK, '/rollback'), { snapshot: 'old' })
    await steps.died(fleet.agent('a'))
    const between = hashOf(device)
    t.true(between === before || between === old, `killed ${place} ${step}: it is neither`)
    await fleet.ready({ agent: 'a' })
    t.like(await fleet.ended(jobId, WAIT_MS), { state: 'succeeded' })
    t.is(hashOf(device), old)
    t.is(hashOf(room.image(safety.name)), before, `what it was before is kept, killed ${place} ${step}`)
    safeties.push(safety.name)
    const stands = async () => (await fleet.call('GET', WWNS)).body.standing
    await until('its export stands', stands, WAIT_MS)
  }
  t.is(hashOf(room.image('newer')), newer)
  await room.call('POST', volumeAt(DISK, '/rollback'), { snapshot: 'newer' })
  await fleet.quiet(WAIT_MS)
  t.is(hashOf(device), newer)

  // A point holds what the volume was when its image was taken, whatever becomes of the volume meanwhile.
  steps.set({ step: 'write', place: 'before', act: 'hold' })
  const { id, job_id: jobId } = await room.call('POST', '/api/v1/points', { source: { volume: DISK } })
  await steps.held()
  await until('its image was taken', async () => (await room.fleet.sql(HELD_LANES, [jobId]))[0].lanes === 1)
  const back = await room.call('POST', volumeAt(DISK, '/rollback'), { snapshot: 'old' })
  t.like(await fleet.ended(back.job_id, WAIT_MS), { state: 'succeeded' })
  safeties.push(back.safety.name)
  steps.open()
  t.like(await fleet.ended(jobId, WAIT_MS), { state: 'succeeded' })
  t.is(hashOf(device), old)
  await room.user.done(`/${id}/restore`, { destination: { volume: DISK }, overwrite: true })
  t.is(hashOf(device), newer)
  await room.user.remove(id)
  const { items } = await room.call('GET', volumeAt(DISK, '/snapshots?limit=100'))
  const names = items.map(({ name }: { name: string }) => name)
  t.is(names.length, safeties.length + 3)
  for (const name of names) await room.call('DELETE', volumeAt(DISK, `/snapshots/${name}`))
  await room.gone()
})
