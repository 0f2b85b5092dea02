import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { watch } from '../../../test/contracts/driver-contract.ts'
import { cloned, MIB } from '../../../test/contracts/volume-contract.ts'
import {
  canMount,
  type LoopFileSystem,
  mountLoop,
  sharedMounts,
  temporaryDirectory,
} from '../../../test/harness/loop-mount.ts'
import { createFileVolumes } from './file-volumes.ts'
import type { FillMode } from './staging.ts'

const shared = sharedMounts(test)
const CHURN = join(import.meta.dirname, '../../../test/harness/volume-churn.ts')
const SOURCE = { volume: 'golden', snapshot: 's' }
const clone = (target: string) => ({ source: SOURCE, target, createParent: true })

async function pool(path: string, mode: FillMode = 'copy') {
  mkdirSync(path, { recursive: true })
  const volumes = await createFileVolumes(path, mode)
  const { device } = await volumes.create({ volume: 'golden', sizeBytes: MIB, createParent: false }, watch)
  writeFileSync(device, 'golden', { flag: 'r+' })
  await volumes.snapshot(SOURCE, watch)
  const at = (...names: readonly string[]) => join(path, 'volumes', ...names)
  return {
    path,
    volumes,
    at,
    staged: () => readdirSync(at('.staged')),
    known: () => (existsSync(at('golden@', 's+')) ? readdirSync(at('golden@', 's+')) : []),
  }
}

/** As after an agent's death at any moment: one is there whole or not at all, and its snapshot knows of it. */
function inspect(t: ExecutionContext, { volumes, at, staged, known }: Awaited<ReturnType<typeof pool>>) {
  return async () => {
    const clones = (await volumes.list('', 100)).filter(({ path }) => path !== 'golden')
    for (const { device, sizeBytes, origin } of clones) {
      t.is(sizeBytes, MIB)
      t.is(readFileSync(device).toString('utf8', 0, 6), 'golden')
      t.like(origin, { path: 'golden', snapshot: 's' })
    }
    await volumes.sweep()
    t.deepEqual(staged(), [])
    t.deepEqual(known().toSorted(), clones.map(({ guid }) => guid).toSorted())
    t.deepEqual(
      (await volumes.list('', 100)).map(({ path }) => path),
      [...clones.map(({ path }) => path), 'golden'].toSorted(),
    )
    if (existsSync(at('c+'))) t.true(readdirSync(at('c+')).every((name) => /^n\d(\.raw|@)$/.test(name)))
  }
}

for (const [mode, on] of [
  ['share', 'xfs'],
  ['share', 'btrfs'],
] as const satisfies readonly (readonly [FillMode, LoopFileSystem])[]) {
  test(`${mode} on ${on}: whenever the agent dies, no volume is half there, and the next one clears up`, async (t) => {
    if (!canMount(t)) return t.pass()
    const made = await pool(join(shared(on), randomUUID()), mode)
    for (const afterMs of [5, 30]) {
      const child = spawn(process.execPath, [CHURN, made.path, mode], { stdio: ['ignore', 'pipe', 'inherit'] })
      await once(child.stdout, 'data')
      await pause(afterMs + Math.random() * 10)
      child.kill('SIGKILL')
      await once(child, 'exit')
      await inspect(t, made)()
    }
    const outcomes = await made.volumes.clone(
      [0, 1, 2, 3, 4, 5].map((n) => clone(`c/n${n}`)),
      watch,
    )
    t.false(outcomes.some((one) => one instanceof Error))
  })
}

test('each thing that a death can leave is cleared up, and what stands stays', async (t) => {
  const made = await pool(temporaryDirectory(t))
  const { volumes, at, staged, known } = made
  const { volume } = await cloned(volumes, clone('c/n0'))
  const image = at('c+', 'n0.raw')
  const stagedImage = at('.staged', volume.guid)
  const knownImage = at('golden@', 's+', volume.guid)

  writeFileSync(at('.staged', 'cut'), 'the first bytes of an image')
  await inspect(t, made)()

  // Known, and not named yet; or destroyed, and known still.
  renameSync(image, stagedImage)
  await volumes.sweep()
  t.deepEqual([staged(), known(), await volumes.find('c/n0')], [[], [], undefined])

  // Destroyed, and not known any more.
  const again = await cloned(volumes, clone('c/n0'))
  renameSync(image, at('.staged', again.volume.guid))
  await volumes.sweep()
  t.deepEqual([staged(), known()], [[], []])

  // Removed by hand: what is known of it blocks nothing.
  const third = await cloned(volumes, clone('c/n0'))
  renameSync(image, at('elsewhere'))
  t.deepEqual(known(), [third.volume.guid])
  await volumes.destroySnapshot('golden', 's', watch)
  t.false(existsSync(knownImage))
  t.false(existsSync(at('golden@', 's+')))
})

test('a snapshot that goes while it is cloned: there is either none, or a clone that it knows', async (t) => {
  const made = await pool(temporaryDirectory(t))
  const { volumes } = made
  const outcomes = await Promise.allSettled([
    volumes.clone([clone('a'), clone('b')], watch),
    volumes.destroySnapshot('golden', 's', watch),
    volumes.clone([clone('a'), clone('c')], watch),
  ])
  const isGone = (await volumes.findSnapshot('golden', 's')) === undefined
  const clones = (await volumes.list('', 10)).filter(({ origin }) => origin !== undefined)
  t.is(outcomes[1]?.status, isGone ? 'fulfilled' : 'rejected')
  t.is(clones.length, isGone ? 0 : 3)
  t.deepEqual(made.staged(), [])
})

test('a full pool says no_space, keeps nothing half made, and goes on', async (t) => {
  if (!canMount(t)) return t.pass()
  const path = mountLoop(t, 'ext4')
  const { volumes, staged, known } = await pool(path)
  const { device } = await volumes.create({ volume: 'large', sizeBytes: 64 * MIB, createParent: false }, watch)
  writeFileSync(device, Buffer.alloc(30 * MIB, 'x'), { flag: 'r+' })
  const source = { volume: 'large', snapshot: 's' }
  const told: number[] = []
  const progress = ({ bytes }: { readonly bytes?: number | undefined }) => void told.push(bytes ?? 0)
  await t.throwsAsync(
    volumes.snapshot(source, { ...watch, progress }).then(() => cloned(volumes, { ...clone('x'), source })),
    { name: 'FleetError', code: 'no_space' } as object,
  )
  t.true(told.length > 1)
  t.deepEqual([staged(), known(), await volumes.find('x')], [[], [], undefined])
  await volumes.destroySnapshot('large', 's', watch)
  await volumes.destroy('large', watch)
  t.false((await cloned(volumes, clone('y'))).reused)
})

test('a copy ends soon after it is cancelled, and leaves nothing', async (t) => {
  const { volumes, staged, at } = await pool(temporaryDirectory(t))
  const { device } = await volumes.create({ volume: 'large', sizeBytes: 64 * MIB, createParent: false }, watch)
  writeFileSync(device, Buffer.alloc(32 * MIB, 'x'), { flag: 'r+' })
  const cancel = new AbortController()
  const snapshot = volumes.snapshot(
    { volume: 'large', snapshot: 's' },
    { signal: cancel.signal, progress: () => cancel.abort() },
  )
  await t.throwsAsync(snapshot, { code: 'cancelled' } as object)
  t.deepEqual(staged(), [])
  t.deepEqual(readdirSync(at('large@')), [])
})

test('a copy has the holes of what it is a copy of', async (t) => {
  const { volumes } = await pool(temporaryDirectory(t))
  const { device } = await volumes.create({ volume: 'large', sizeBytes: 64 * MIB, createParent: false }, watch)
  writeFileSync(device, 'begin', { flag: 'r+' })
  await volumes.snapshot({ volume: 'large', snapshot: 's' }, watch)
  const { volume } = await cloned(volumes, { ...clone('c'), source: { volume: 'large', snapshot: 's' } })
  t.true(statSync(volume.device).blocks * 512 < MIB)
  t.is(statSync(volume.device).size, 64 * MIB)
})

test('no two names of volumes come to one file, and one may lie below another', async (t) => {
  const { volumes } = await pool(temporaryDirectory(t))
  const paths = ['a', 'a.raw', 'a/b', 'a.raw/b', 'a/b.raw', 'a:b', 'a-b']
  for (const volume of paths) await volumes.create({ volume, sizeBytes: MIB, createParent: false }, watch)
  const listed = await volumes.list('', 100)
  t.deepEqual(
    listed.map(({ path }) => path),
    [...paths, 'golden'].toSorted(),
  )
  t.is(new Set(listed.map(({ device }) => statSync(device).ino)).size, paths.length + 1)
})

test('an image that somebody put there is a volume, and can be a source', async (t) => {
  const { volumes, at } = await pool(temporaryDirectory(t))
  mkdirSync(at('theirs+'))
  writeFileSync(at('theirs+', 'image.raw'), 'theirs')
  truncateSync(at('theirs+', 'image.raw'), MIB)
  const found = await volumes.find('theirs/image')
  t.like(found, { sizeBytes: MIB, origin: undefined, isWritten: true })
  t.is((await volumes.find('theirs/image'))?.guid, found?.guid)
  const source = { volume: 'theirs/image', snapshot: 's' }
  await volumes.snapshot(source, watch)
  const { volume } = await cloned(volumes, { ...clone('c'), source })
  t.is(readFileSync(volume.device).toString('utf8', 0, 6), 'theirs')
})

test('no link is followed, and no path leads out', async (t) => {
  const { volumes, at, path } = await pool(temporaryDirectory(t))
  mkdirSync(join(path, 'outside'))
  symlinkSync(join(path, 'outside'), at('link+'))
  symlinkSync(join(path, 'outside', 'image'), at('file.raw'))
  linkSync(at('golden.raw'), join(path, 'outside', 'image'))
  await t.throwsAsync(volumes.create({ volume: 'link/a', sizeBytes: MIB, createParent: true }, watch), {
    code: 'refused',
  } as object)
  await t.throwsAsync(volumes.find('file'), { code: 'refused' } as object)
  mkdirSync(at('folder.raw'))
  mkdirSync(at('.staged', 'folder'))
  await t.throwsAsync(volumes.find('folder'), { code: 'conflict' } as object)
  await volumes.sweep()
  t.deepEqual(
    (await volumes.list('', 10)).map(({ path }) => path),
    ['golden'],
  )
  for (const volume of ['../a', '/a', 'a//b', 'a/../b', '.staged', 'a@b', 'a+', '']) {
    await t.throwsAsync(async () => volumes.find(volume), { code: 'invalid' } as object)
  }
  t.deepEqual(readdirSync(join(path, 'outside')), ['image'])
})
