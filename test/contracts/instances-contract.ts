import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import type { Instances, MadeInstances } from '../../agent/instances/instances.ts'
import { thawLeft } from '../../agent/instances/watchdog.ts'
import type { InstanceType } from '../../shared/instance-spec.ts'
import { until } from '../harness/until.ts'

export interface InstancesSubject<Driver extends Instances = MadeInstances> {
  readonly driver: Driver
  /** Where the watchdogs leave their notes. */
  readonly notes: string
  readonly type: InstanceType
  /** LXC's folder, the engine's socket, or libvirt's URI. */
  readonly place: string
  /** Makes an instance that runs COUNTER once it is started. @returns its id */
  define(name: string): Promise<string>
  /** What the instance has written, read in its root or on its disk. */
  read(id: string, file: 'ticks' | 'hostname'): string
}

export interface MadeSubject extends InstancesSubject {
  /** A copy of an instance's root on this host. */
  copyRootfs(id: string): Promise<string>
}

/** Of a technology whose instances are not made by its driver. */
export interface DefinedSubject extends InstancesSubject<Instances> {
  /** It may run. One that was defined before may be defined again instead. */
  remove(id: string): Promise<void>
}

type Test = (title: string, run: (t: ExecutionContext) => Promise<void>) => void

export const never = new AbortController().signal
/** Several of the counter's turns; a loaded machine takes longer for one. */
const STILL_MS = 150
const HANGER = join(import.meta.dirname, '../harness/freeze-and-hang.ts')
let names = 0

/** What any Instances must do, shown on instances that run. */
export function instancesContract(test: Test, open: () => MadeSubject): void {
  const remove = async (id: string) => {
    const { driver } = open()
    await driver.stop(id, { graceMs: 0, signal: never }).catch(() => undefined)
    await driver.destroy(id, never)
  }
  const it = standingContract(test, () => ({ ...open(), remove }))

  it('what it is made of can be read, and a frozen one is not destroyed', async (t, _, id) => {
    const { driver } = open()
    const found = await driver.find(id, never)
    t.true((found?.pid ?? 0) > 1)
    t.true(readdirSync(found?.rootfs ?? '/nowhere').includes('bin'))
    await using _freeze = await driver.freeze({ id, maxMs: 30_000, signal: never })
    await t.throwsAsync(driver.destroy(id, never), { code: 'conflict' })
  })
  it('a configuration makes a second instance', async (t, _, id) => {
    const { driver, copyRootfs, read } = open()
    const config = await driver.readConfig(id, never)
    await driver.stop(id, { graceMs: 5_000, signal: never })
    const rootfs = await copyRootfs(id)
    const stoodAt = Number(readFileSync(join(rootfs, 'root/ticks'), 'utf8'))
    await driver.start(id, never)

    const name = `copy-${process.pid}-${names++}`
    const request = { name, config, rootfs, identity: 'new', trusted: true, mounts: [] } as const
    const { instance } = await driver.create(request, never)
    t.like(instance, { name, state: 'STOPPED' })
    await t.throwsAsync(driver.create(request, never), { code: 'exists' })
    await driver.start(instance.id, never)
    await until('the copy counts', () => Number(read(instance.id, 'ticks')) > stoodAt)
    t.is(read(instance.id, 'hostname').trim(), name)
    await t.throwsAsync(driver.destroy(instance.id, never), { code: 'conflict' })
    await driver.stop(instance.id, { graceMs: 0, signal: never })
    await driver.destroy(instance.id, never)
    await driver.destroy(instance.id, never)
    t.is(await driver.find(instance.id, never), undefined)
    const before = Number(read(id, 'ticks'))
    await until('the first one counts', () => Number(read(id, 'ticks')) > before)
  })

  it('one that was made on a directory changes its name, and is taken back without it', async (t, _, id) => {
    const room = open()
    const { driver } = room
    const config = await driver.readConfig(id, never)
    const freeze = await driver.freeze({ id, maxMs: 30_000, signal: never }) // its counter replaces a file
    const rootfs = await room.copyRootfs(id).finally(freeze.thaw)
    const [under, name] = [`under-${process.pid}-${names++}`, `made-${process.pid}-${names++}`]
    const request = { name, under, config, rootfs, identity: 'new', trusted: true, mounts: [] } as const
    t.like((await driver.create(request, never)).instance, { name: under, state: 'STOPPED' })
    await t.throwsAsync(driver.rename(under, await nameOf(driver, id), never), { code: 'exists' })
    const renamed = await driver.rename(under, name, never)
    t.like(renamed, { name, state: 'STOPPED' })
    t.like(await driver.rename(under, name, never), { id: renamed.id, name })
    t.is(await driver.find(under, never), undefined)
    await driver.start(renamed.id, never)
    await until('it began', () => room.read(renamed.id, 'hostname').trim() === name)
    for (const act of [driver.rename(name, under, never), driver.unmake(name, never)])
      await t.throwsAsync(act, { code: 'conflict' })
    await driver.stop(renamed.id, { graceMs: 0, signal: never })
    await driver.unmake(name, never)
    await driver.unmake(name, never)
    t.is(await driver.find(name, never), undefined)
    t.true(readdirSync(rootfs).includes('bin'))
    await t.throwsAsync(driver.rename(name, under, never), { code: 'not_found' })
  })

  test('what is not there is destroyed already', async (t) => {
    await t.notThrowsAsync(open().driver.destroy('nobody-here', never))
  })
}

/**
 * The same without what makes and removes them.
 * @param isBrief of watchdogs, which are the same everywhere, only what each technology must do @returns declares tests about an instance that runs
 */
export function standingContract(test: Test, open: () => DefinedSubject, isBrief = false) {
  const ticks = (id: string) => Number(open().read(id, 'ticks'))
  const counts = (id: string) => {
    const before = ticks(id)
    return until(`${id} counts`, () => ticks(id) > before)
  }
  const standsStill = async (id: string) => {
    const before = ticks(id)
    await pause(STILL_MS)
    return ticks(id) === before
  }
  const it = (title: string, body: (t: ExecutionContext, room: DefinedSubject, id: string) => Promise<void>) =>
    test(title, async (t) => {
      const room = open()
      const id = await room.define(`subject-${process.pid}-${names++}`)
      try {
        await room.driver.start(id, never)
        await until('the counter began', () => ticks(id) > 0)
        await body(t, room, id)
      } finally {
        await room.driver.thaw(id, never).catch(() => undefined)
        await room.remove(id)
      }
      t.deepEqual(readdirSync(room.notes), [])
    })

  it('a running instance is listed with what it is made of', async (t, { driver, type }, id) => {
    const found = (await driver.list(never)).find((instance) => instance.id === id)
    t.like(found, { type, id, state: 'RUNNING' })
    t.regex(found?.config?.hash ?? '', /^[0-9a-f]{64}$/)
    t.deepEqual(await driver.find(id, never), found)
    t.is((await driver.find(found?.name ?? '', never))?.id, id)
  })

  it('a frozen instance stands still until it is thawed', async (t, { driver }, id) => {
    const freeze = await driver.freeze({ id, maxMs: 30_000, signal: never })
    t.true(freeze.held)
    t.is((await driver.find(id, never))?.state, 'FROZEN')
    t.true(await standsStill(id))
    const end = await freeze.thaw()
    t.true(end.intact)
    t.true(end.heldMs >= STILL_MS)
    t.deepEqual(await freeze.thaw(), end)
    t.is((await driver.find(id, never))?.state, 'RUNNING')
    await counts(id)
  })

  it('what somebody else froze stays frozen', async (t, { driver }, id) => {
    await using first = await driver.freeze({ id, maxMs: 30_000, signal: never })
    const second = await driver.freeze({ id, maxMs: 30_000, signal: never })
    t.false(second.held)
    await second.thaw()
    t.true(await standsStill(id))
    await first.thaw()
    await driver.thaw(id, never)
    await driver.thaw(id, never)
    await counts(id)
  })

  it('the death of the process that froze thaws at once', async (t, room, id) => {
    const hanger = hang(room, id, 60_000)
    await hanger.said('frozen')
    t.true(await standsStill(id))
    const killedAt = performance.now()
    hanger.signal('SIGKILL')
    await counts(id)
    t.log(`thawed within ${Math.round(performance.now() - killedAt)} ms`)
    await until('the watchdog ended', () => readdirSync(room.notes).length === 0)
  })

  if (!isBrief) watchdogContract(it, counts)

  it('the next start of an agent thaws what was left without a watchdog', async (t, room, id) => {
    const hanger = hang(room, id, 60_000)
    await hanger.said('frozen')
    hanger.signal('SIGSTOP') // it would thaw when its watchdog dies
    hanger.killWatchdog()
    hanger.signal('SIGKILL')
    t.true(await standsStill(id))
    t.is(await thawLeft(room.notes), 0)
    await counts(id)
  })

  it('a configuration is the same after a stop and a start', async (t, { driver }, id) => {
    const config = await driver.readConfig(id, never)
    const before = (await driver.find(id, never))?.config
    await driver.stop(id, { graceMs: 5_000, signal: never })
    await driver.stop(id, { graceMs: 5_000, signal: never })
    t.is((await driver.find(id, never))?.state, 'STOPPED')
    t.deepEqual((await driver.find(id, never))?.config, before)
    await driver.start(id, never)
    await driver.start(id, never)
    t.deepEqual((await driver.find(id, never))?.config, before)
    t.deepEqual(await driver.readConfig(id, never), config)
    await counts(id)
  })

  it('what a state forbids is a conflict', async (t, { driver }, id) => {
    await using freeze = await driver.freeze({ id, maxMs: 30_000, signal: never })
    await t.throwsAsync(driver.start(id, never), { code: 'conflict' })
    await t.throwsAsync(driver.stop(id, { graceMs: 0, signal: never }), { code: 'conflict' })
    await freeze.thaw()
    await driver.stop(id, { graceMs: 0, signal: never })
    await t.throwsAsync(driver.freeze({ id, maxMs: 30_000, signal: never }), { code: 'conflict' })
  })

  test('an unknown instance is not found, and an impossible name is invalid', async (t) => {
    const { driver } = open()
    const id = 'nobody-here'
    t.is(await driver.find(id, never), undefined)
    await t.throwsAsync(driver.freeze({ id, maxMs: 1_000, signal: never }), { code: 'not_found' })
    await t.throwsAsync(driver.start(id, never), { code: 'not_found' })
    await t.throwsAsync(driver.readConfig(id, never), { code: 'not_found' })
    for (const bad of ['', '-n', '../x', 'a b', 'a/b', 'a\n', 'ü', '.hidden'])
      await t.throwsAsync(driver.find(bad, never), { code: 'invalid' }, bad)
  })
  return it
}

type Declare = (title: string, body: (t: ExecutionContext, room: DefinedSubject, id: string) => Promise<void>) => void

/** What watchdogs do alike, whatever they thaw. @param counts resolves when an instance goes on */
function watchdogContract(it: Declare, counts: (id: string) => Promise<unknown>): void {
  it('the watchdog thaws at its deadline, and whoever froze is told', async (t, { driver }, id) => {
    const freeze = await driver.freeze({ id, maxMs: 4_000, signal: never })
    await until('it was thawed', async () => (await driver.find(id, never))?.state === 'RUNNING')
    await counts(id)
    t.false((await freeze.thaw()).intact)
  })

  it('a process that froze and hangs is not waited for', async (t, room, id) => {
    const hanger = hang(room, id, 5_000)
    await hanger.said('frozen')
    hanger.signal('SIGSTOP')
    await counts(id)
    hanger.signal('SIGCONT')
    hanger.answer()
    t.is(await hanger.said('intact'), 'intact false')
  })

  it('a kill at any moment of a freeze leaves nothing frozen', async (t, room, id) => {
    for (const delayMs of [0, 5, 30]) {
      const hanger = hang(room, id, 60_000)
      await hanger.said('begins')
      await until('a watchdog is set', () => readdirSync(room.notes).length > 0)
      await pause(delayMs)
      hanger.signal('SIGKILL')
      t.is(await thawLeft(room.notes), 0) // killed before it had started its watchdog, it leaves a note alone
      await counts(id)
      t.is((await room.driver.find(id, never))?.state, 'RUNNING')
    }
  })
}

async function nameOf(driver: Instances, id: string): Promise<string> {
  return (await driver.find(id, never))?.name ?? ''
}

/** Runs freeze-and-hang.ts. */
export function hang(
  { type, place, notes }: Pick<DefinedSubject, 'type' | 'place' | 'notes'>,
  id: string,
  maxMs: number,
) {
  const order = JSON.stringify({ type, place, id, maxMs, notes })
  const child = spawn(process.execPath, [HANGER, order], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines: string[] = []
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line))
  return {
    said: (word: string) => until(`the hanger says ${word}`, () => lines.find((line) => line.startsWith(word))),
    signal: (name: NodeJS.Signals) => void child.kill(name),
    answer: () => void child.stdin.write('go on\n'),
    killWatchdog: () => process.kill(childOf(child.pid ?? 0), 'SIGKILL'),
  }
}

/** The only child a hanger keeps is its watchdog. */
function childOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0])
}
