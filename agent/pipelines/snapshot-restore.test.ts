import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import {
  appendFileSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'
import type { ErrorCode, FleetError } from '../../shared/errors.ts'
import type { DatasetPlace, RestoreSnapshotSpec } from '../../shared/job-spec.ts'
import { watch } from '../../test/contracts/driver-contract.ts'
import { contextOf, memoryOf, pipelineContract } from '../../test/contracts/pipeline-contract.ts'
import { canMount, mountLoop, temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { NO_INSTANCES } from '../../test/harness/no-instances.ts'
import { pointsOf } from '../../test/harness/points.ts'
import { openDriver } from '../drivers/registry.ts'
import { createSimDriver } from '../drivers/sim/sim-driver.ts'
import type { JobMemory, PipelineTools } from './pipeline.ts'
import { openWork } from './pipelines.ts'
import { PipelineFailure, runPipeline } from './run-pipeline.ts'

interface Fixture {
  /** Host paths of the snapshot's root and of the dataset's. */
  readonly snapshot: string
  readonly dataset: string
  readonly tools: PipelineTools
  readonly spec: (sourcePath: string, path: string, overwrite?: boolean) => RestoreSnapshotSpec
  readonly hostSpec: (sourcePath: string, path: string) => RestoreSnapshotSpec
  readonly run: (spec: RestoreSnapshotSpec, memory?: JobMemory, jobId?: string) => Promise<Restored>
}
type Restored = Awaited<ReturnType<typeof runPipeline<'snapshot.restore'>>>['result']

/** A copy pool on the machine's own disk unless a btrfs one is asked for. */
async function fixture(t: ExecutionContext, driverName: 'copy' | 'btrfs' = 'copy'): Promise<Fixture> {
  const outside = temporaryDirectory(t)
  const path = driverName === 'btrfs' ? mountLoop(t, 'btrfs', 256 * 2 ** 20) : temporaryDirectory(t)
  const driver = await openDriver({ name: 'a', path, driver: driverName })
  const tools: PipelineTools = {
    driver: () => driver,
    restorePaths: [`${outside}/`],
    forbiddenPaths: [join(outside, 'kept')],
    points: pointsOf(t).tools,
    ...NO_INSTANCES,
  }
  const place = async (): Promise<{ place: DatasetPlace; root: string }> => {
    const dataset = randomUUID()
    return { place: { pool: 'a', dataset }, root: (await driver.create(dataset, watch)).mountpoint }
  }
  const [from, to] = [await place(), await place()]
  const base = { kind: 'snapshot.restore', snapshot: from.place } as const
  return {
    snapshot: from.root,
    dataset: to.root,
    tools,
    spec: (sourcePath, path, overwrite) => ({
      ...base,
      sourcePath,
      destination: { kind: 'dataset', place: to.place, path },
      ...(overwrite === undefined ? {} : { overwrite }),
    }),
    hostSpec: (sourcePath, path) => ({
      ...base,
      sourcePath,
      destination: { kind: 'host', path: path.replace('OUT', outside) },
    }),
    run: async (spec, memory = memoryOf(), jobId = randomUUID()) =>
      (await runPipeline(await openWork(spec, jobId, tools), contextOf(jobId, memory))).result,
  }
}

async function failureOf(t: ExecutionContext, running: Promise<unknown>): Promise<FleetError> {
  const failure = await t.throwsAsync(running)
  if (!(failure instanceof PipelineFailure)) throw failure
  return failure.cause as FleetError // every expected failure here is operational; t.is on its code tells otherwise
}

pipelineContract(test, {
  kind: 'snapshot.restore',
  async prepare(t) {
    const { snapshot, dataset, spec, tools } = await fixture(t)
    mkdirSync(join(snapshot, 'tree', 'below'), { recursive: true })
    writeFileSync(join(snapshot, 'tree', 'below', 'a'), 'new')
    mkdirSync(join(dataset, 'tree'))
    writeFileSync(join(dataset, 'tree', 'old'), 'old')
    const open = (jobId: string) => openWork(spec('/tree', '/tree', true), jobId, tools)
    return { open, observe: () => readdirSync(dataset, { recursive: true }).toSorted() }
  },
})

test('a file arrives with content, owner, mode, nanosecond times and attributes; blocks are shared on btrfs', async (t) => {
  if (!canMount(t)) return t.pass()
  const { snapshot, dataset, spec, run } = await fixture(t, 'btrfs')
  const source = join(snapshot, 'a')
  writeFileSync(source, Buffer.alloc(100_000, 'x'))
  execFileSync('/bin/chown', ['1234:2345', source])
  execFileSync('/bin/chmod', ['4751', source])
  execFileSync('/bin/touch', ['-d', '2001-02-03 04:05:06.123456789', source])
  execFileSync('/usr/bin/python3', ['-c', `import os; os.setxattr('${source}', 'user.note', b'\\0kept')`])
  const { inode, ...rest } = await run(spec('/a', '/b'))
  t.deepEqual(rest, { type: 'file', fileSize: 100_000, files: 1, bytes: 100_000, cow: true })
  const [from, to] = [source, join(dataset, 'b')].map((path) => lstatSync(path, { bigint: true }))
  t.is(Number(to?.ino), inode)
  for (const field of ['mode', 'uid', 'gid', 'size', 'mtimeNs', 'atimeNs'] as const)
    t.is(to?.[field], from?.[field], field)
  t.deepEqual(readFileSync(join(dataset, 'b')), readFileSync(source))
  const note = execFileSync('/usr/bin/python3', ['-c', `import os; print(os.getxattr('${dataset}/b', 'user.note'))`])
  t.is(note.toString(), "b'\\x00kept'\n")
  t.deepEqual(readdirSync(dataset), ['b'])
})

test('a tree arrives with links, special files, holes, and names that are not UTF-8', async (t) => {
  const { snapshot, dataset, spec, run } = await fixture(t)
  const tree = join(snapshot, 't')
  mkdirSync(join(tree, 'd'), { recursive: true })
  writeFileSync(join(tree, 'd', 'one'), 'linked')
  linkSync(join(tree, 'd', 'one'), join(tree, 'two'))
  symlinkSync('/etc/passwd', join(tree, 'absolute'))
  symlinkSync('nowhere', join(tree, 'dangling'))
  const bytes = Buffer.concat([Buffer.from(`${tree}/`), Buffer.from([0xff, 0xfe, 0x0a, 0x80])])
  writeFileSync(bytes, 'bytes')
  writeFileSync(join(tree, 'n'.repeat(255)), 'long')
  execFileSync('/usr/bin/mkfifo', [join(tree, 'fifo')])
  execFileSync('/bin/mknod', [join(tree, 'null'), 'c', '1', '3'])
  execFileSync('/usr/bin/truncate', ['-s', '64M', join(tree, 'sparse')])
  appendFileSync(join(tree, 'sparse'), 'end')
  utimesSync(join(tree, 'd'), 1, 2)

  const result = await run(spec('/t/', '/t'))
  t.like(result, { type: 'directory', fileSize: 0, cow: false, files: 11 })
  const to = join(dataset, 't')
  const names = (path: string) => readdirSync(path, { encoding: 'buffer' }).map(String).toSorted()
  t.deepEqual(names(to), names(tree))
  t.is(statSync(join(to, 'two')).ino, statSync(join(to, 'd', 'one')).ino)
  t.is(readlinkSync(join(to, 'absolute')), '/etc/passwd')
  t.is(readlinkSync(join(to, 'dangling')), 'nowhere')
  t.true(lstatSync(join(to, 'fifo')).isFIFO())
  t.is(lstatSync(join(to, 'null')).rdev, lstatSync('/dev/null').rdev)
  t.is(readFileSync(Buffer.concat([Buffer.from(`${to}/`), bytes.subarray(-4)]), 'utf8'), 'bytes')
  t.true(statSync(join(to, 'sparse')).blocks < 1_000)
  t.is(statSync(join(to, 'sparse')).size, 64 * 2 ** 20 + 3)
  t.is(statSync(join(to, 'd')).mtimeMs, 2_000)
})

test('the whole of a snapshot restores as a plain tree, its blocks shared', async (t) => {
  if (!canMount(t)) return t.pass()
  const { snapshot, dataset, spec, run } = await fixture(t, 'btrfs')
  writeFileSync(join(snapshot, 'a'), Buffer.alloc(10_000))
  t.like(await run(spec('/', '/all')), { type: 'directory', cow: true, files: 2 })
  t.is(statSync(join(dataset, 'all')).dev, statSync(dataset).dev)
})

test('what stands at the destination decides with `overwrite`', async (t) => {
  const { snapshot, dataset, spec, run } = await fixture(t)
  writeFileSync(join(snapshot, 'file'), 'new')
  mkdirSync(join(snapshot, 'tree'))
  writeFileSync(join(snapshot, 'tree', 'in'), 'new')
  const make: Record<string, (path: string) => void> = {
    nothing: () => undefined,
    file: (path) => writeFileSync(path, 'old'),
    link: (path) => symlinkSync('/etc/passwd', path),
    empty: (path) => mkdirSync(path),
    full: (path) => mkdirSync(join(path, 'deep'), { recursive: true }),
  }
  for (const source of ['/file', '/tree']) {
    for (const overwrite of [undefined, true, false]) {
      for (const [existing, prepare] of Object.entries(make)) {
        const name = randomUUID()
        prepare(join(dataset, name))
        const running = run(spec(source, `/${name}`, overwrite))
        const what = `${source} over ${existing}, overwrite ${overwrite}`
        if (overwrite === false && existing !== 'nothing') t.is((await failureOf(t, running)).code, 'exists', what)
        else if (overwrite === undefined && existing === 'full')
          t.is((await failureOf(t, running)).code, 'conflict', what)
        else {
          await running
          const restored = source === '/file' ? join(dataset, name) : join(dataset, name, 'in')
          t.is(readFileSync(restored, 'utf8'), 'new', what)
        }
      }
    }
  }
  t.deepEqual(
    readdirSync(dataset).filter((name) => name.startsWith('.')),
    [],
  )
})

test('paths that lead out, through links or to nothing are refused by their own codes', async (t) => {
  const { snapshot, dataset, spec, hostSpec, run } = await fixture(t)
  writeFileSync(join(snapshot, 'a'), 'a')
  symlinkSync('a', join(snapshot, 'link'))
  symlinkSync('/etc', join(snapshot, 'etc'))
  symlinkSync('/etc', join(dataset, 'etc'))
  execFileSync('/usr/bin/mkfifo', [join(snapshot, 'fifo')])
  const cases: [spec: RestoreSnapshotSpec, code: ErrorCode, message: RegExp][] = [
    [spec('/link', '/b'), 'invalid', /^Source path must be a file or directory$/],
    [spec('/fifo', '/b'), 'invalid', /^Source path must be a file or directory$/],
    [spec('/absent', '/b'), 'not_found', /not found in snapshot/],
    [spec('/etc/passwd', '/b'), 'refused', /symbolic link/],
    [spec('/../a', '/b'), 'refused', /'\.\.'/],
    [spec('/a', '/etc/b'), 'refused', /symbolic link/],
    [spec('/a', '/x/../b'), 'refused', /'\.\.'/],
    [spec('/a', '/no/parent'), 'not_found', /parent directory/],
    [spec('/a', '/'), 'invalid', /root of the dataset/],
    [spec('/a', 'relative'), 'invalid', /absolute/],
    [hostSpec('/a', '/etc/b'), 'refused', /outside the directories/],
    [hostSpec('/a', 'OUT/kept'), 'refused', /kept from restores/],
  ]
  for (const [order, code, message] of cases) {
    const failure = await failureOf(t, run(order))
    t.is(failure.code, code, failure.message)
    t.regex(failure.message, message)
    t.notRegex(failure.message, /var\/tmp/.test(order.destination.path) ? /datasets/ : /var\/tmp|datasets/)
  }
  t.deepEqual(readdirSync(dataset), ['etc'])
})

test('a restore to the host copies, below an allowed directory', async (t) => {
  const { snapshot, hostSpec, run } = await fixture(t)
  writeFileSync(join(snapshot, 'a'), 'a')
  const order = hostSpec('/a', 'OUT/b')
  t.like(await run(order), { type: 'file', fileSize: 1, cow: false })
  t.is(readFileSync(order.destination.path, 'utf8'), 'a')
})

test("a user's write to the restored file survives a repeat of the order, even by a new file in its place", async (t) => {
  const { snapshot, dataset, spec, run } = await fixture(t)
  writeFileSync(join(snapshot, 'a'), 'snapshot')
  for (const write of ['in place', 'by rename']) {
    const [memory, jobId] = [memoryOf(), randomUUID()]
    const first = await run(spec('/a', '/b'), memory, jobId)
    if (write === 'in place') writeFileSync(join(dataset, 'b'), 'user')
    else {
      writeFileSync(join(dataset, 'c'), 'user')
      renameSync(join(dataset, 'c'), join(dataset, 'b'))
    }
    t.deepEqual(await run(spec('/a', '/b'), memory, jobId), first)
    t.is(readFileSync(join(dataset, 'b'), 'utf8'), 'user', write)
  }
})

test('a repeat after a crash between the rename and the clearing up only clears up', async (t) => {
  const { snapshot, dataset, spec, tools, run } = await fixture(t)
  mkdirSync(join(snapshot, 'tree'))
  mkdirSync(join(dataset, 'tree', 'old'), { recursive: true })
  const [memory, jobId] = [memoryOf(), randomUUID()]
  const crashed = await openWork(spec('/tree', '/tree', true), jobId, tools)
  for (const step of crashed.steps.slice(0, 3)) await step.run(contextOf(jobId, memory))
  t.deepEqual(readdirSync(dataset).toSorted(), [`.holdfast-${jobId}.partial`, 'tree'])
  writeFileSync(join(dataset, 'tree', 'user'), '')
  await run(spec('/tree', '/tree', true), memory, jobId)
  t.deepEqual(readdirSync(dataset), ['tree'])
  t.deepEqual(readdirSync(join(dataset, 'tree')), ['user'])
})

test('a repeat after a crash before the rename goes on with what is staged', async (t) => {
  const { snapshot, dataset, spec, tools, run } = await fixture(t)
  writeFileSync(join(snapshot, 'a'), 'a')
  const [memory, jobId] = [memoryOf(), randomUUID()]
  for (const step of (await openWork(spec('/a', '/b'), jobId, tools)).steps.slice(0, 2))
    await step.run(contextOf(jobId, memory))
  const { inode } = await run(spec('/a', '/b'), memory, jobId)
  t.is(statSync(join(dataset, 'b')).ino, inode)
  t.deepEqual(readdirSync(dataset), ['b'])
})

test('a mount point at the destination, on the way, or inside what is replaced is refused', async (t) => {
  if (!canMount(t)) return t.pass()
  const { snapshot, dataset, spec, run } = await fixture(t)
  writeFileSync(join(snapshot, 'a'), 'a')
  mkdirSync(join(dataset, 'd', 'mnt'), { recursive: true })
  execFileSync('/bin/mount', ['-t', 'tmpfs', 'none', join(dataset, 'd', 'mnt')])
  t.teardown(() => execFileSync('/bin/umount', [join(dataset, 'd', 'mnt')]))
  writeFileSync(join(dataset, 'd', 'mnt', 'precious'), '')
  for (const path of ['/d/mnt', '/d/mnt/b', '/d']) {
    t.is((await failureOf(t, run(spec('/a', path, true)))).code, 'refused', path)
  }
  t.true(existsSync(join(dataset, 'd', 'mnt', 'precious')))
})

const SWAPPER = `
  const { renameSync } = require('node:fs')
  const { workerData: { a, b, c, stop } } = require('node:worker_threads')
  const flag = new Int32Array(stop)
  while (Atomics.load(flag, 0) === 0) { renameSync(a, c); renameSync(b, a); renameSync(a, b); renameSync(c, a) }`
const SWAP_ROUNDS = 200

test('a parent that is swapped for a link while restores run never leads out of the dataset', async (t) => {
  const { snapshot, dataset, spec, run } = await fixture(t)
  const outside = temporaryDirectory(t)
  writeFileSync(join(snapshot, 'a'), 'a')
  mkdirSync(join(dataset, 'd'))
  symlinkSync(outside, join(dataset, 'link'))
  const stop = new SharedArrayBuffer(4)
  const workerData = { a: join(dataset, 'd'), b: join(dataset, 'link'), c: join(dataset, 'moved'), stop }
  const swapper = new Worker(SWAPPER, { eval: true, workerData })
  const ended = new Promise((resolve) => swapper.once('exit', resolve))
  let refused = 0
  for (let round = 0; round < SWAP_ROUNDS; round += 1) {
    await run(spec('/a', `/d/${round}`)).catch(() => {
      refused += 1
    })
  }
  Atomics.store(new Int32Array(stop), 0, 1)
  await ended
  t.deepEqual(readdirSync(outside), [])
  t.is(readdirSync(join(dataset, 'd')).length, SWAP_ROUNDS - refused)
  t.log(`${refused} of ${SWAP_ROUNDS} refused`)
})

test('simulated pools hold no files', async (t) => {
  const { spec, tools } = await fixture(t)
  const driver = createSimDriver()
  const jobId = randomUUID()
  const work = await openWork(spec('/a', '/b'), jobId, { ...tools, driver: () => driver })
  const failure = await failureOf(t, runPipeline(work, contextOf(jobId)))
  t.deepEqual([failure.code, failure.message], ['refused', 'simulated pools hold no files'])
})
