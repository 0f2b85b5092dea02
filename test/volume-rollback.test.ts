import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { runPipeline } from '../agent/pipelines/run-pipeline.ts'
import { createFileVolumes } from '../agent/volumes/file/file-volumes.ts'
import type { FillMode } from '../agent/volumes/file/staging.ts'
import { watch } from './contracts/driver-contract.ts'
import { contextOf } from './contracts/pipeline-contract.ts'
import { cloned, MIB } from './contracts/volume-contract.ts'
import { IMAGE_BYTE, openExportRoom } from './harness/export-host.ts'
import { holdSession, holds, onLun } from './harness/initiator.ts'
import { lacksExports } from './harness/lacks-exports.ts'
import { canMount, type LoopFileSystem, sharedMounts, temporaryDirectory } from './harness/loop-mount.ts'
import { failureOf } from './harness/point-orders.ts'
import { testUnless } from './harness/system-packages.ts'
import { until } from './harness/until.ts'
import { DISK, memoryIn, newer, noteOf, rollbackOf, safetyOf, writeText } from './harness/volume-rolls.ts'

const shared = sharedMounts(test)
const ROLLS = join(import.meta.dirname, 'harness/volume-rolls.ts')
const OLD = 'the-old!'
const begins = (device: string) => readFileSync(device).toString('utf8', 0, OLD.length)

/** Some agent dies while it rolls a volume back, and is started again. @returns what the volume was in between */
async function afterDeath(
  t: ExecutionContext,
  { path, mode, state, isCancelled }: { path: string; mode: FillMode; state: string; isCancelled: boolean },
): Promise<string> {
  const volumes = await createFileVolumes(path, mode)
  await volumes.sweep()
  const { round, jobId, staged } = noteOf(state)
  const { guid } = JSON.parse(staged || '{}')
  const safety = () => volumes.findSnapshot(DISK, safetyOf(round))
  const safetyText = () => begins(join(path, 'volumes', `${DISK}@`, `${safetyOf(round)}.raw`))
  const between = await volumes.find(DISK)
  const held = begins(between?.device ?? '')
  if (between?.guid === guid) {
    t.is(held, OLD)
    if (await safety()) t.is(safetyText(), newer(round))
  } else if (held !== OLD) t.is(held, newer(round)) // or it was killed before it wrote
  const memory = memoryIn(state, { round, jobId })
  const signal = isCancelled ? AbortSignal.abort() : new AbortController().signal
  const work = runPipeline(rollbackOf(volumes, { round, jobId }), contextOf(jobId, memory, signal), true)
  if (isCancelled && between?.guid !== guid) await t.throwsAsync(work, { message: 'cancelled' })
  else if (staged === undefined || (await safety()) !== undefined || between?.guid !== guid) {
    const { result } = await work
    const now = await volumes.find(DISK)
    t.is(result.volume.guid, now?.guid ?? '')
    t.is(begins(now?.device ?? ''), OLD)
    t.is(result.safety.guid, (await safety())?.guid ?? '')
    t.is(safetyText(), held === OLD && between?.guid !== guid ? OLD : newer(round))
    await volumes.destroySnapshot(DISK, safetyOf(round), watch)
  } else await work // it had ended, and the safety snapshot was gone again
  t.is(await safety(), undefined)
  t.deepEqual(readdirSync(join(path, 'volumes', '.staged')), [])
  t.deepEqual(
    (await volumes.list('', 10)).map(({ path, snapshots }) => [path, snapshots.map(({ name }) => name)]),
    [[DISK, ['later', 's']]],
  )
  writeFileSync(join(state, 'round'), JSON.stringify({ round: round + 1, jobId: randomUUID() }))
  return between?.guid === guid ? 'rolled back' : 'as it was'
}

for (const [mode, on] of [
  ['share', 'btrfs'],
  ['share', 'xfs'],
  ['copy', 'ext4'],
] as const satisfies readonly (readonly [FillMode, LoopFileSystem])[]) {
  test(`${mode} on ${on}: a volume whose agent dies in its rollback is the old or the new one, and the next run ends it`, async (t) => {
    if (!canMount(t)) return t.pass()
    const [path, state] = [join(shared(on), randomUUID()), temporaryDirectory(t)]
    mkdirSync(path)
    const volumes = await createFileVolumes(path, mode)
    const { device } = await volumes.create({ volume: DISK, sizeBytes: MIB, createParent: false }, watch)
    await writeText(device, OLD)
    await volumes.snapshot({ volume: DISK, snapshot: 's' }, watch)
    await volumes.snapshot({ volume: DISK, snapshot: 'later' }, watch)
    writeFileSync(join(state, 'round'), JSON.stringify({ round: 1, jobId: randomUUID() }))
    const seen: string[] = []
    for (const isCancelled of [false, true]) {
      const child = spawn(process.execPath, [ROLLS, path, mode, state], { stdio: ['ignore', 'pipe', 'inherit'] })
      await once(child.stdout, 'data')
      await pause(5 + Math.random() * 250)
      child.kill('SIGKILL')
      await once(child, 'exit')
      seen.push(await afterDeath(t, { path, mode, state, isCancelled }))
    }
    t.log(seen.join(', '))
  })
}

const lacks = lacksExports()
const onExports = testUnless(lacks)

onExports(
  'an exported volume is rolled back once nobody is logged in, and is then under its name what it was',
  async (t) => {
    const path = mkdtempSync(join(shared('btrfs'), 'pool-'))
    await using host = await openExportRoom({ driver: 'btrfs', path })
    const place = { pool: 'a', volume: 'image' }
    const element = { ...host.element(1), source: null, place }
    await host.run({ kind: 'export.create', elements: [element] })
    const login = host.login(element)
    const written = await onLun(login, 'write -P 0x11 0 65536', 'flush')
    t.truthy(written)
    const order = { kind: 'volume.rollback', place: { ...place, snapshot: 'golden' }, safety: 'before' } as const
    const session = await holdSession(login)
    const refused = await failureOf(t, host.run(order))
    t.like(refused, { code: 'conflict', blockers: [element.wwn] })
    t.true(await session.reads())
    await session.end()
    await until('the session is gone', async () => (await host.exports.sessionsOf(place, watch.signal)).length === 0)
    const before = await host.volumes('a').find('image')
    const { volume, safety } = await host.run(order)
    t.not(volume.guid, before?.guid)
    t.like(host.exports.find(element.wwn), { guid: volume.guid, device: volume.device })
    t.true(await holds(login, IMAGE_BYTE))
    const { volume: clone } = await cloned(host.volumes('a'), {
      source: { volume: 'image', snapshot: 'before' },
      target: 'was',
      createParent: false,
    })
    t.is(safety.sizeBytes, clone.sizeBytes)
    t.is(readFileSync(clone.device)[0], 0x11)
    t.is(readFileSync(volume.device)[0], IMAGE_BYTE)
  },
)
