import { randomUUID } from 'node:crypto'
import type { ExecutionContext, TestFn } from 'ava'
import type { CloneRequest, Volume, Volumes } from '../../agent/volumes/volumes.ts'
import { watch } from './driver-contract.ts'

export interface VolumeSubject {
  readonly volumes: Volumes
  /** Writes into a volume, as an initiator would, and reads it; undefined for pools that hold no bytes. */
  readonly disk?: {
    write(device: string, text: string): void | Promise<void>
    read(device: string, bytes: number): string | Promise<string>
  }
  /** What is left of calls that did not come to their end, in a comparable form. */
  litter?(): readonly string[]
}

export interface VolumeContract {
  /** A fresh pool, or a fresh place in one; undefined (with a logged reason) when this machine cannot offer one. */
  open(t: ExecutionContext): Promise<VolumeSubject | undefined>
}

export const MIB = 2 ** 20
type Body = (t: ExecutionContext, subject: VolumeSubject) => Promise<void>

const fails = (code: string) => ({ name: 'FleetError', code }) as object
const from = (volume: string, snapshot: string, target: string, createParent = false): CloneRequest => ({
  source: { volume, snapshot },
  target,
  createParent,
})

/** One clone. @throws what became of it */
export async function cloned(volumes: Volumes, request: CloneRequest): Promise<{ volume: Volume; reused: boolean }> {
  const [outcome] = await volumes.clone([request], watch)
  if (outcome === undefined || outcome instanceof Error) throw outcome
  return outcome
}

/** A volume with a snapshot. */
async function golden({ volumes }: VolumeSubject, name = 'golden'): Promise<Volume> {
  const made = await volumes.create({ volume: name, sizeBytes: MIB, createParent: false }, watch)
  await volumes.settle([made], watch)
  await volumes.snapshot({ volume: name, snapshot: 's' }, watch)
  return made
}

/** What any Volumes must do. An implementation's own test file supplies `open` and adds only what is peculiar to it. */
export function volumeContract(test: TestFn, { open }: VolumeContract): void {
  const it = (title: string, body: Body) =>
    test(title, async (t) => {
      const subject = await open(t)
      if (!subject) return t.pass()
      await body(t, subject)
      if (subject.litter) t.deepEqual(subject.litter(), [])
    })
  makingContract(it)
  cloneContract(it)
  destroyContract(it)
  diskContract(it)
  stageContract(it)
  captureContract(it)
}

function makingContract(it: (title: string, body: Body) => void): void {
  it('a volume is made once, by its path, and another one of its name is refused', async (t, { volumes }) => {
    const request = { volume: 'a', sizeBytes: MIB, createParent: false }
    const first = await volumes.create(request, watch)
    t.like(first, { path: 'a', sizeBytes: MIB, origin: undefined })
    t.deepEqual(await volumes.create(request, watch), first)
    t.deepEqual(await volumes.find('a'), first)
    await t.throwsAsync(volumes.create({ ...request, sizeBytes: 2 * MIB }, watch), fails('exists'))
    await volumes.destroy('a', watch)
    t.not((await volumes.create(request, watch)).guid, first.guid)
  })

  it('a parent that is missing is not_found, unless it is asked for', async (t, { volumes }) => {
    const request = { volume: 'users/x/a', sizeBytes: MIB, createParent: false }
    await t.throwsAsync(volumes.create(request, watch), fails('not_found'))
    t.is(await volumes.find('users/x/a'), undefined)
    await volumes.create({ ...request, createParent: true }, watch)
    t.is((await volumes.create({ ...request, volume: 'users/x/b' }, watch)).path, 'users/x/b')
  })

  it('volumes only grow', async (t, { volumes }) => {
    await volumes.create({ volume: 'a', sizeBytes: MIB, createParent: false }, watch)
    const grown = await volumes.resize({ volume: 'a', sizeBytes: 2 * MIB }, watch)
    t.is(grown.sizeBytes, 2 * MIB)
    t.deepEqual(await volumes.resize({ volume: 'a', sizeBytes: 2 * MIB }, watch), grown)
    await t.throwsAsync(volumes.resize({ volume: 'a', sizeBytes: MIB }, watch), fails('conflict'))
    await t.throwsAsync(volumes.resize({ volume: 'b', sizeBytes: MIB }, watch), fails('not_found'))
  })

  it('a snapshot is taken once, and of a volume that is there', async (t, subject) => {
    const { volumes } = subject
    await golden(subject)
    const first = await volumes.findSnapshot('golden', 's')
    t.like(first, { name: 's', sizeBytes: MIB })
    t.deepEqual(await volumes.snapshot({ volume: 'golden', snapshot: 's' }, watch), first)
    await volumes.resize({ volume: 'golden', sizeBytes: 2 * MIB }, watch)
    t.is((await volumes.findSnapshot('golden', 's'))?.sizeBytes, MIB)
    await t.throwsAsync(volumes.snapshot({ volume: 'absent', snapshot: 's' }, watch), fails('not_found'))
    t.is(await volumes.findSnapshot('golden', 'absent'), undefined)
    t.is(await volumes.findSnapshot('absent', 's'), undefined)
  })

  it('all are listed by path, page by page', async (t, subject) => {
    const { volumes } = subject
    await golden(subject, 'a')
    const targets = ['a-b', 'b/c/d', 'b/a', 'b.c', 'b0']
    await volumes.clone(
      targets.map((target) => from('a', 's', target, true)),
      watch,
    )
    const listed: string[] = []
    for (let after = ''; ; after = listed.at(-1) ?? '') {
      const page = await volumes.list(after, 2)
      listed.push(...page.map(({ path }) => path))
      if (page.length < 2) break
    }
    t.deepEqual(listed, ['a', ...targets].toSorted())
    const [first, second] = await volumes.list('', 2)
    t.like(first, { path: 'a', origin: undefined })
    t.deepEqual(
      first?.snapshots.map(({ name }) => name),
      ['s'],
    )
    t.like(second, { path: 'a-b', snapshots: [], origin: { path: 'a', snapshot: 's' } })
  })

  it('an aborted call is cancelled and makes nothing', async (t, subject) => {
    const { volumes } = subject
    await golden(subject)
    const aborted = { ...watch, signal: AbortSignal.abort() }
    const request = { volume: 'a', sizeBytes: MIB, createParent: false }
    await t.throwsAsync(async () => volumes.create(request, aborted), fails('cancelled'))
    await t.throwsAsync(async () => volumes.snapshot({ volume: 'golden', snapshot: 'b' }, aborted), fails('cancelled'))
    const outcome = await volumes.clone([from('golden', 's', 'b')], aborted).catch((error: unknown) => [error])
    t.like(outcome[0], { code: 'cancelled' })
    t.deepEqual(
      (await volumes.list('', 10)).map(({ path, snapshots }) => [path, snapshots.length]),
      [['golden', 1]],
    )
  })
}

function cloneContract(it: (title: string, body: Body) => void): void {
  it('a clone is made once, knows its origin, and is found again even when that is gone', async (t, subject) => {
    const { volumes } = subject
    await golden(subject)
    const snapshot = await volumes.findSnapshot('golden', 's')
    const first = await cloned(volumes, from('golden', 's', 'c'))
    t.like(first, { reused: false, volume: { path: 'c', sizeBytes: MIB, isWritten: false } })
    t.deepEqual(first.volume.origin, { guid: snapshot?.guid ?? '', path: 'golden', snapshot: 's' })
    t.deepEqual(await cloned(volumes, from('golden', 's', 'c')), { ...first, reused: true })
    await t.throwsAsync(cloned(volumes, from('golden', 'absent', 'd')), fails('not_found'))
    await t.throwsAsync(cloned(volumes, from('golden', 's', 'x/d')), fails('not_found'))
  })

  it('a clone that has parted rests on nothing, and keeps what it was', async (t, subject) => {
    const { volumes, disk } = subject
    const { part } = volumes
    if (part === undefined) {
      t.pass('its clones rest on their snapshots')
      return
    }
    const { device } = await golden(subject)
    await disk?.write(device, 'golden')
    await volumes.snapshot({ volume: 'golden', snapshot: 'written' }, watch)
    const { volume } = await cloned(volumes, from('golden', 'written', 'c'))
    t.deepEqual(await part('c', watch), { ...volume, origin: undefined })
    t.like(await part('c', watch), { guid: volume.guid })
    await t.throwsAsync(part('absent', watch), fails('not_found'))
    await volumes.destroySnapshot('golden', 'written', watch)
    await volumes.destroySnapshot('golden', 's', watch)
    await volumes.destroy('golden', watch)
    if (disk) t.is(await disk.read(volume.device, 6), 'golden')
    await volumes.destroy('c', watch)
    t.deepEqual(await volumes.list('', 10), [])
  })

  it('what is no clone of that snapshot is not taken for one', async (t, subject) => {
    const { volumes } = subject
    await golden(subject)
    await volumes.snapshot({ volume: 'golden', snapshot: 'later' }, watch)
    await cloned(volumes, from('golden', 's', 'c'))
    await t.throwsAsync(cloned(volumes, from('golden', 'later', 'c')), fails('exists'))
    await t.throwsAsync(cloned(volumes, from('golden', 's', 'golden')), fails('exists'))
  })

  it('of many clones each fails alone, and each has an identity of its own', async (t, subject) => {
    const { volumes } = subject
    await golden(subject)
    const asked = [
      ...Array.from({ length: 5 }, (_, n) => from('golden', 's', `nodes/n${n}`, true)),
      from('golden', 'absent', 'x'),
      from('golden', 's', 'nodes/n0', true),
      from('golden', 's', 'golden'),
    ]
    const outcomes = await volumes.clone(asked, watch)
    const told = outcomes.map((one) => (one instanceof Error ? (one as { code?: string }).code : one.reused))
    t.deepEqual([told.slice(1, 6), told.slice(7)], [[false, false, false, false, 'not_found'], ['exists']])
    t.deepEqual([told[0], told[6]].toSorted(), [false, true])
    const guids = outcomes.slice(0, 5).map((one) => (one instanceof Error ? '' : one.volume.guid))
    t.is(new Set(guids).size, 5)
  })
}

function destroyContract(it: (title: string, body: Body) => void): void {
  it('nothing is destroyed that others rest on: they are named', async (t, subject) => {
    const { volumes } = subject
    await golden(subject)
    await cloned(volumes, from('golden', 's', 'x/c', true))
    const ofVolume = await t.throwsAsync(volumes.destroy('golden', watch), fails('conflict'))
    t.deepEqual((ofVolume as { blockers?: string[] }).blockers?.toSorted(), ['golden@s', 'x/c'])
    const ofSnapshot = await t.throwsAsync(volumes.destroySnapshot('golden', 's', watch), fails('conflict'))
    t.deepEqual((ofSnapshot as { blockers?: string[] }).blockers, ['x/c'])
    await volumes.destroy('x/c', watch)
    await t.throwsAsync(volumes.destroy('golden', watch), fails('conflict'))
    await volumes.destroySnapshot('golden', 's', watch)
    await volumes.destroy('golden', watch)
    t.deepEqual(await volumes.list('', 10), [])
  })

  it('destroying what is absent succeeds', async (t, { volumes }) => {
    await t.notThrowsAsync(volumes.destroy('a', watch))
    await t.notThrowsAsync(volumes.destroy('a/b', watch))
    await t.notThrowsAsync(volumes.destroySnapshot('a', 's', watch))
  })

  it('a sweep leaves all that stands', async (t, subject) => {
    const { volumes } = subject
    await golden(subject)
    await cloned(volumes, from('golden', 's', 'x/c', true))
    const before = await volumes.list('', 10)
    await volumes.sweep()
    t.deepEqual(await volumes.list('', 10), before)
  })
}

function diskContract(it: (title: string, body: Body) => void): void {
  it('what is written stays in its volume: neither snapshots nor other clones see it', async (t, subject) => {
    const { volumes, disk } = subject
    if (disk === undefined) {
      t.pass()
      return
    }
    const made = await volumes.create({ volume: 'golden', sizeBytes: MIB, createParent: false }, watch)
    await volumes.settle([made], watch)
    await disk.write(made.device, 'first')
    await volumes.snapshot({ volume: 'golden', snapshot: 's' }, watch)
    await disk.write(made.device, 'later')
    const { volume: one } = await cloned(volumes, from('golden', 's', 'one'))
    const { volume: two } = await cloned(volumes, from('golden', 's', 'two'))
    await volumes.settle([one, two], watch)
    t.is(await disk.read(one.device, 5), 'first')
    await disk.write(one.device, 'mine!')
    t.is(await disk.read(two.device, 5), 'first')
    t.is(await disk.read(made.device, 5), 'later')
    t.deepEqual([(await volumes.find('one'))?.isWritten, (await volumes.find('two'))?.isWritten], [true, false])
    t.like(await cloned(volumes, from('golden', 's', 'one')), { reused: true, volume: { isWritten: true } })
  })
}

/** Without zeros. */
const text = (read: string) => read.replaceAll('\0', '')
const blank = { content: { sizeBytes: 2 * MIB }, createParent: false }

function stageContract(it: (title: string, body: Body) => void): void {
  it('what is staged is seen by nobody before it has its name, and is gone when it gets none', async (t, subject) => {
    const { volumes } = subject
    await golden(subject)
    const before = await volumes.list('', 10)
    {
      await using staged = await volumes.stage({ volume: 'new', ...blank }, watch)
      t.is(staged.sizeBytes, 2 * MIB)
      t.deepEqual(await volumes.list('', 10), before)
    }
    await using staged = await volumes.stage({ volume: 'x/new', ...blank, createParent: true }, watch)
    const put = await staged.put('new', watch)
    await volumes.settle([put], watch)
    t.like(put, { path: 'x/new', sizeBytes: 2 * MIB, guid: staged.guid, origin: undefined })
    t.deepEqual(await volumes.find('x/new'), put)
    await using second = await volumes.stage({ volume: 'x/new', ...blank }, watch)
    await t.throwsAsync(second.put('new', watch), fails('exists'))
    await using absent = await volumes.stage({ volume: 'absent', ...blank }, watch)
    await t.throwsAsync(absent.put('over', watch), fails('not_found'))
    await t.throwsAsync(
      volumes.stage({ volume: 'golden', content: { snapshot: 'absent' }, createParent: false }, watch),
      fails('not_found'),
    )
    t.deepEqual(await volumes.find('x/new'), put)
  })

  it('another volume takes the place of one that stands: its snapshots stay, older and newer, and all of it can go', async (t, subject) => {
    const { volumes, disk } = subject
    const made = await golden(subject)
    await disk?.write(made.device, 'later')
    await volumes.snapshot({ volume: 'golden', snapshot: 'newer' }, watch)
    await cloned(volumes, from('golden', 's', 'c'))
    for (const content of [{ snapshot: 's' }, { snapshot: 'newer' }, { sizeBytes: 4 * MIB }]) {
      await using staged = await volumes.stage({ volume: 'golden', content, createParent: false }, watch)
      const put = await staged.put('over', watch)
      await volumes.settle([put], watch)
      t.like(put, {
        path: 'golden',
        guid: staged.guid,
        sizeBytes: 'sizeBytes' in content ? 4 * MIB : MIB,
        origin: undefined,
      })
      const [listed, ...rest] = (await volumes.list('', 10)).toReversed()
      t.deepEqual(listed?.snapshots.map(({ name }) => name).toSorted(), ['newer', 's'])
      t.deepEqual(
        rest.map(({ path }) => path),
        ['c'],
      )
      t.deepEqual((await volumes.find('c'))?.origin?.path, 'golden')
      if (disk === undefined) continue
      t.is(text(await disk.read(put.device, 5)), 'snapshot' in content && content.snapshot === 'newer' ? 'later' : '')
      await disk.write(put.device, 'mine!')
    }
    t.not((await volumes.find('golden'))?.guid, made.guid)
    await volumes.destroy('c', watch)
    for (const snapshot of ['s', 'newer']) await volumes.destroySnapshot('golden', snapshot, watch)
    await volumes.destroy('golden', watch)
    t.deepEqual(await volumes.list('', 10), [])
  })

  it('a clone that becomes what it was at its own snapshot is a clone all the same, and was written to', async (t, subject) => {
    const { volumes } = subject
    await golden(subject)
    await cloned(volumes, from('golden', 's', 'c'))
    await volumes.snapshot({ volume: 'c', snapshot: 'mine' }, watch)
    await using staged = await volumes.stage({ volume: 'c', content: { snapshot: 'mine' }, createParent: false }, watch)
    const put = await staged.put('over', watch)
    t.like(put.origin, { path: 'golden', snapshot: 's' })
    const failure = await t.throwsAsync(volumes.destroySnapshot('golden', 's', watch), fails('conflict'))
    t.deepEqual((failure as { blockers?: string[] }).blockers, ['c'])
    await volumes.destroySnapshot('c', 'mine', watch)
    await volumes.destroy('c', watch)
    await volumes.destroySnapshot('golden', 's', watch)
    t.is(await volumes.findSnapshot('golden', 's'), undefined)
  })
}

function captureContract(it: (title: string, body: Body) => void): void {
  it("a capture is of one instant, is in no list and in nobody's way, and goes with its volume", async (t, subject) => {
    const { volumes, disk } = subject
    if (disk === undefined) {
      t.pass()
      return
    }
    const made = await golden(subject)
    await disk.write(made.device, 'first')
    const [one, two, three] = [randomUUID(), randomUUID(), randomUUID()]
    const now = await volumes.capture({ volume: 'golden', id: one }, watch)
    await disk.write(made.device, 'later')
    const then = await volumes.capture({ volume: 'golden', id: two, snapshot: 's' }, watch)
    t.is(now.sizeBytes, MIB)
    t.is(await disk.read(now.device, 5), 'first')
    t.is(text(await disk.read(then.device, 5)), '')
    t.deepEqual(await volumes.capture({ volume: 'golden', id: one }, watch), now)
    t.deepEqual(await volumes.findCapture({ volume: 'golden', id: one }), now)
    t.deepEqual(
      (await volumes.list('', 10)).flatMap(({ path, snapshots }) => [path, ...snapshots.map(({ name }) => name)]),
      ['golden', 's'],
    )
    await t.throwsAsync(volumes.capture({ volume: 'absent', id: three }, watch), fails('not_found'))
    await t.throwsAsync(volumes.capture({ volume: 'golden', id: three, snapshot: 'absent' }, watch), fails('not_found'))
    await volumes.dropCapture({ volume: 'golden', id: two })
    await volumes.dropCapture({ volume: 'golden', id: two })
    t.is(await volumes.findCapture({ volume: 'golden', id: two }), undefined)
    await volumes.destroySnapshot('golden', 's', watch)
    await volumes.destroy('golden', watch)
    t.is(await volumes.findCapture({ volume: 'golden', id: one }), undefined)
    t.deepEqual(await volumes.list('', 10), [])
  })
}
