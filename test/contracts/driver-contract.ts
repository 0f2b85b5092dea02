import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext, TestFn } from 'ava'
import type { Driver, Watch } from '../../agent/drivers/driver.ts'

export interface DriverSubject {
  readonly driver: Driver
  /** Directory of the pool; undefined for pools that hold no files. */
  readonly path?: string
}

export interface DriverContract {
  /** A fresh pool; undefined (with a logged reason) when this machine cannot offer one. */
  open(t: ExecutionContext): Promise<DriverSubject | undefined>
  /** A pool too small for what `fill` asks; only for drivers that hold files. */
  openSmall?(t: ExecutionContext): Promise<DriverSubject | undefined>
  /** False: whatever it makes is there at once, and it leaves no files to sweep. */
  readonly stages?: boolean
}

export const watch: Watch = { signal: new AbortController().signal, progress: () => undefined }

type Body = (t: ExecutionContext, subject: DriverSubject) => Promise<void>

/** What any Driver must do. A driver's own test file supplies `open` and adds only what is peculiar to it. */
export function driverContract(test: TestFn, { open, openSmall, stages = true }: DriverContract): void {
  const it = (title: string, body: Body, opener = open) =>
    test(title, async (t) => {
      const subject = await opener(t)
      if (!subject) return t.pass()
      await body(t, subject)
    })

  it('a second create finds the first dataset', async (t, { driver }) => {
    const dataset = randomUUID()
    const first = await driver.create(dataset, watch)
    t.deepEqual(await driver.create(dataset, watch), first)
    t.deepEqual(await driver.find(dataset), first)
  })

  it('a second snapshot of the same name finds the first', async (t, { driver }) => {
    const [source, target] = [randomUUID(), randomUUID()]
    await driver.create(source, watch)
    const { original, ...first } = await driver.snapshot({ source, target, readonly: true }, watch)
    // What was made earlier may differ from its source by then.
    t.deepEqual(await driver.snapshot({ source, target, readonly: true }, watch), first)
    if (original !== undefined) t.deepEqual(original.mountpoint, (await driver.find(source))?.mountpoint ?? '')
    t.like(first, { atomic: driver.capabilities.atomic, cow: driver.capabilities.cow })
  })

  it('a repeat finds the snapshot even when its source is gone by then', async (t, { driver }) => {
    const [source, target] = [randomUUID(), randomUUID()]
    await driver.create(source, watch)
    const first = await driver.snapshot({ source, target, readonly: false }, watch)
    await driver.destroy(source, watch)
    t.deepEqual(await driver.snapshot({ source, target, readonly: false }, watch), first)
  })

  it('destroying what is absent succeeds, and find does not see what was destroyed', async (t, { driver }) => {
    const dataset = randomUUID()
    await t.notThrowsAsync(driver.destroy(dataset, watch))
    await driver.create(dataset, watch)
    await driver.destroy(dataset, watch)
    t.is(await driver.find(dataset), undefined)
    await t.notThrowsAsync(driver.destroy(dataset, watch))
  })

  it('a snapshot of an absent dataset is not_found', async (t, { driver }) => {
    const request = { source: randomUUID(), target: randomUUID(), readonly: true }
    await t.throwsAsync(driver.snapshot(request, watch), { name: 'FleetError', code: 'not_found' } as object)
    t.is(await driver.find(request.target), undefined)
  })

  it('an aborted call is cancelled and leaves nothing', async (t, { driver, path }) => {
    const dataset = randomUUID()
    const aborted = { ...watch, signal: AbortSignal.abort() }
    await t.throwsAsync(async () => driver.create(dataset, aborted), { code: 'cancelled' } as object)
    t.is(await driver.find(dataset), undefined)
    if (path) t.deepEqual(readdirSync(join(path, 'datasets')), [])
  })

  it('concurrent calls for one name make one dataset', async (t, { driver }) => {
    const dataset = randomUUID()
    const made = await Promise.all([1, 2, 3, 4].map(() => driver.create(dataset, watch)))
    t.is(new Set(made.map(({ rootInode }) => rootInode)).size, 1)
  })

  it('the pool tells its size', async (t, { driver }) => {
    const { sizeBytes, freeBytes } = await driver.usage()
    t.true(sizeBytes > 0 && freeBytes > 0 && freeBytes <= sizeBytes)
  })

  if (openSmall === undefined) return
  fileContract(it)
  if (stages) it('sweep removes litter and nothing else', sweepRemovesLitter)
  it('a full pool says no_space and keeps nothing half-made', fullPoolLeavesNothing, openSmall)
}

function fileContract(it: (title: string, body: Body) => void): void {
  it('writes to a dataset and to its writable snapshot do not reach each other', async (t, { driver }) => {
    const [source, target] = [randomUUID(), randomUUID()]
    const { mountpoint } = await driver.create(source, watch)
    t.is(statSync(mountpoint).mode & 0o7777, 0o755)
    writeFileSync(join(mountpoint, 'a'), 'before')
    const image = await driver.snapshot({ source, target, readonly: false }, watch)
    t.is(statSync(image.mountpoint).ino, image.rootInode)
    writeFileSync(join(mountpoint, 'a'), 'source')
    t.is(readFileSync(join(image.mountpoint, 'a'), 'utf8'), 'before')
    writeFileSync(join(image.mountpoint, 'a'), 'target')
    t.is(readFileSync(join(mountpoint, 'a'), 'utf8'), 'source')
  })

  it('what changed between two images is told, where the driver can, and no base means no list', async (t, {
    driver,
  }) => {
    if (driver.changes === undefined) {
      t.pass()
      return
    }
    const [source, base, image] = [randomUUID(), randomUUID(), randomUUID()]
    const { mountpoint } = await driver.create(source, watch)
    writeFileSync(join(mountpoint, 'a'), 'before')
    await driver.snapshot({ source, target: base, readonly: true }, watch)
    writeFileSync(join(mountpoint, 'a'), 'behind')
    await driver.snapshot({ source, target: image, readonly: true }, watch)
    t.true((await driver.changes({ base, image }, watch))?.some(({ path }) => path === 'a'))
    await driver.destroy(base, watch)
    t.is(await driver.changes({ base, image }, watch), undefined)
  })

  it('a read-only snapshot refuses writes where the driver says so, and can be destroyed', async (t, { driver }) => {
    const [source, target] = [randomUUID(), randomUUID()]
    await driver.create(source, watch)
    const { mountpoint } = await driver.snapshot({ source, target, readonly: true }, watch)
    const write = () => writeFileSync(join(mountpoint, 'a'), '')
    if (driver.capabilities.enforcesReadonly) t.throws(write, { code: 'EROFS' } as object)
    else t.notThrows(write)
    await driver.destroy(target, watch)
    t.false(existsSync(mountpoint))
  })
}

async function sweepRemovesLitter(t: ExecutionContext, { driver, path = '' }: DriverSubject): Promise<void> {
  const kept = randomUUID()
  const { mountpoint } = await driver.create(kept, watch)
  writeFileSync(join(mountpoint, 'a'), 'kept')
  const litter = join(path, 'datasets', `.${randomUUID()}.partial`)
  mkdirSync(join(litter, 'deep', 'er'), { recursive: true })
  writeFileSync(join(litter, 'deep', 'b'), '')
  await driver.sweep()
  t.deepEqual(readdirSync(join(path, 'datasets')), [kept])
  t.is(readFileSync(join(mountpoint, 'a'), 'utf8'), 'kept')
}

const FILL_CHUNK = Buffer.alloc(2 ** 20, 'x')

async function fullPoolLeavesNothing(t: ExecutionContext, { driver, path = '' }: DriverSubject): Promise<void> {
  const source = randomUUID()
  const { mountpoint } = await driver.create(source, watch)
  for (let file = 0; file < 20; file += 1) writeFileSync(join(mountpoint, `f${file}`), `${file}`)
  const fill = () => {
    for (let file = 0; ; file += 1) writeFileSync(join(mountpoint, `fill-${file}`), FILL_CHUNK)
  }
  t.throws(fill, { code: 'ENOSPC' } as object)
  const names = readdirSync(join(path, 'datasets'))
  const target = randomUUID()
  const refused = await driver.snapshot({ source, target, readonly: true }, watch).then(
    () => undefined,
    (error: unknown) => error,
  )
  // A driver that shares blocks may still find room for the little it writes.
  if (refused === undefined) {
    t.true(driver.capabilities.cow)
    return
  }
  t.like(refused, { name: 'FleetError', code: 'no_space' })
  t.deepEqual(readdirSync(join(path, 'datasets')), names)
}
