import { randomUUID } from 'node:crypto'
import test, { type ExecutionContext } from 'ava'
import { watch } from '../../../test/contracts/driver-contract.ts'
import { MIB, volumeContract } from '../../../test/contracts/volume-contract.ts'
import { Died, modelOfZfs } from '../../../test/harness/zfs-model.ts'
import { createZfsVolumes } from './zfs-volumes.ts'

const settled = { settle: async () => undefined, seen: async () => true, settleOwn: async () => undefined }

async function open() {
  // What is done to one zpool waits for its turn.
  const root = `tank-${randomUUID().slice(0, 8)}/volumes`
  const model = modelOfZfs(root)
  const volumes = await createZfsVolumes({ root, zfs: model.zfs, devices: settled })
  const disk = {
    write: (device: string, text: string) => model.write(device, text),
    read: (device: string, bytes: number) => model.read(device, bytes),
  }
  const litter = () => model.names().filter((name) => /[/@#]\.(staged|point|gone)/.test(name))
  return { root, model, volumes, disk, litter }
}

// By a model of the tool: the tool itself is asked in test/lab.
volumeContract(test, { open })

async function prepared() {
  const made = await open()
  const { volumes, model } = made
  const { device } = await volumes.create({ volume: 'disk', sizeBytes: MIB, createParent: false }, watch)
  for (const snapshot of ['s', 'later']) {
    model.write(device, snapshot)
    await volumes.snapshot({ volume: 'disk', snapshot }, watch)
  }
  model.write(device, 'now')
  return { ...made, device }
}

async function rollBack(
  { volumes }: Pick<Awaited<ReturnType<typeof open>>, 'volumes'>,
  snapshot: string,
  safety: string,
) {
  await using staged = await volumes.stage({ volume: 'disk', content: { snapshot }, createParent: false }, watch)
  await volumes.snapshot({ volume: 'disk', snapshot: safety }, watch)
  return staged.put('over', watch)
}

async function contentOf(made: Awaited<ReturnType<typeof open>>, snapshot: string): Promise<string> {
  const [clone] = await made.volumes.clone(
    [{ source: { volume: 'disk', snapshot }, target: `of-${snapshot}`, createParent: false }],
    watch,
  )
  if (clone === undefined || clone instanceof Error) throw clone
  const content = made.model.read(clone.volume.device, 9)
  await made.volumes.destroy(clone.volume.path, watch)
  return content
}

test('a volume that is rolled back again and again has all of its snapshots, and leaves nothing when they and it go', async (t) => {
  const made = await prepared()
  const { volumes, model, root } = made
  t.like(await rollBack(made, 's', 'before-1'), { path: 'disk', origin: undefined })
  t.is(model.read(made.device, 9), 's')
  await rollBack(made, 'later', 'before-2')
  t.is(model.read(made.device, 9), 'later')
  model.write(made.device, 'newest')
  await rollBack(made, 'before-1', 'before-3')
  t.is(model.read(made.device, 9), 'now')
  const [listed] = await volumes.list('', 10)
  const names = ['before-1', 'before-2', 'before-3', 'later', 's']
  t.deepEqual(listed?.snapshots.map(({ name }) => name).toSorted(), names)
  for (const [snapshot, content] of [
    ['s', 's'],
    ['later', 'later'],
    ['before-1', 'now'],
    ['before-2', 's'],
    ['before-3', 'newest'],
  ] as const)
    t.is(await contentOf(made, snapshot), content)
  await t.throwsAsync(volumes.destroy('disk', watch), { code: 'conflict' } as object)
  for (const name of names.toReversed()) {
    await volumes.destroySnapshot('disk', name, watch)
    t.is(await volumes.findSnapshot('disk', name), undefined)
  }
  t.is(model.read(made.device, 9), 'now')
  await volumes.destroy('disk', watch)
  t.deepEqual(model.names(), [root])
})

test('snapshots that go one by one leave the volume alone with itself', async (t) => {
  const made = await prepared()
  const { volumes, model, root } = made
  await rollBack(made, 's', 'before')
  for (const name of ['s', 'before', 'later']) await volumes.destroySnapshot('disk', name, watch)
  t.deepEqual(model.names(), [root, `${root}/disk`])
  t.is(model.read(made.device, 9), 's')
})

test('a capture holds no snapshot and no volume back', async (t) => {
  const made = await prepared()
  const { volumes, model, root } = made
  const [one, two] = [randomUUID(), randomUUID()]
  await volumes.capture({ volume: 'disk', id: one, snapshot: 's' }, watch)
  const { device } = await volumes.capture({ volume: 'disk', id: two }, watch)
  await volumes.destroySnapshot('disk', 's', watch)
  t.is(await volumes.findSnapshot('disk', 's'), undefined)
  await volumes.dropCapture({ volume: 'disk', id: one })
  await rollBack(made, 'later', 'before')
  t.is(model.read(device, 9), 'now')
  await volumes.dropCapture({ volume: 'disk', id: two })
  t.deepEqual(
    model.names().filter((name) => /[/@#]\.(staged|point|gone)/.test(name)),
    [],
  )
  for (const name of ['later', 'before']) await volumes.destroySnapshot('disk', name, watch)
  await volumes.destroy('disk', watch)
  t.deepEqual(model.names(), [root])
})

test('a base tells what was written since, as far as the volume is what it was, and is in the way of nothing', async (t) => {
  const { volumes, model, root, device, litter } = await prepared()
  const { bases } = volumes
  if (bases === undefined) return t.fail()
  const ids = Array.from({ length: 4 }, () => randomUUID())
  const [one = '', two = '', three = '', four = ''] = ids
  const named = (id: string) => ({ volume: 'disk', id })
  const told = async (baseId: string, id: string) => {
    const offsets: number[] = []
    const between = { volume: 'disk', baseId, id }
    return (await bases.changes(between, ({ offset }) => offsets.push(offset), watch.signal)) ?? offsets
  }
  t.false(await bases.keep(named(one)), 'there is no such capture')
  await volumes.capture({ ...named(one), snapshot: 'later' }, watch)
  for (const _ of ['once', 'twice']) t.true(await bases.keep(named(one)))
  t.is(await volumes.findCapture(named(one)), undefined)
  await volumes.capture(named(two), watch)
  t.deepEqual(await told(one, two), [0])
  t.true(await bases.keep(named(two)))
  await volumes.capture(named(three), watch)
  t.deepEqual(await told(two, three), [])
  t.deepEqual(await told(three, three), 'what was kept of the point below is gone')
  await volumes.dropCapture(named(three))
  // Of the snapshot that the base is of, it is what it was; of an older one it is not.
  await rollBack({ volumes }, 'later', 'before')
  await volumes.capture(named(four), watch)
  t.deepEqual(await told(one, four), [])
  await volumes.dropCapture(named(four))
  await rollBack({ volumes }, 's', 'and-before')
  await volumes.capture(named(four), watch)
  for (const base of [one, two]) t.is(await told(base, four), 'the volume was rolled back or replaced since')
  await volumes.dropCapture(named(two))
  t.deepEqual([await bases.has(named(one)), await bases.has(named(two))], [true, false])
  for (const snapshot of ['and-before', 'before', 'later', 's']) await volumes.destroySnapshot('disk', snapshot, watch)
  t.is(model.read(device, 9), 's')
  await volumes.destroy('disk', watch)
  t.deepEqual(model.names(), [root])
  t.deepEqual(litter(), [])
  t.false(await bases.has(named(one)))
})

test('a volume whose pasts rest on it goes, with a capture of a snapshot that is gone', async (t) => {
  const { volumes, model, root, device } = await prepared()
  const [first, second] = [randomUUID(), randomUUID()]
  await rollBack({ volumes }, 'later', 'before')
  model.write(device, 'again')
  await rollBack({ volumes }, 's', 'and-before')
  await volumes.capture({ volume: 'disk', id: first, snapshot: 'later' }, watch)
  t.true(await volumes.bases?.keep({ volume: 'disk', id: first }))
  await volumes.capture({ volume: 'disk', id: second, snapshot: 'later' }, watch)
  for (const snapshot of ['and-before', 'before', 'later', 's']) await volumes.destroySnapshot('disk', snapshot, watch)
  await volumes.destroy('disk', watch)
  t.deepEqual(model.names(), [root])
})

for (const [what, content] of [
  ['rolled back', { snapshot: 's' }],
  ['replaced', { sizeBytes: 2 * MIB }],
] as const) {
  test(`whichever command is the last one of an agent that dies, what is ${what} is the old or the new volume once it starts again`, async (t) => {
    const seen = new Set<string>()
    for (let commands = 0, isOver = false; !isOver; commands += 1) {
      const made = await prepared()
      const { volumes, model } = made
      const before = await volumes.find('disk')
      const staged = await volumes.stage({ volume: 'disk', content, createParent: false }, watch)
      model.lives(commands)
      isOver = await staged.put('over', watch).then(
        () => true,
        (error: unknown) => (error instanceof Died ? false : Promise.reject(error)),
      )
      model.lives(Number.POSITIVE_INFINITY)
      await volumes.sweep()
      await endsWhole(t, { ...made, guids: { before: before?.guid ?? '', staged: staged.guid }, what, seen })
    }
    t.deepEqual([...seen].toSorted(), ['new', 'old'])
  })
}

async function endsWhole(
  t: ExecutionContext,
  made: Awaited<ReturnType<typeof prepared>> & {
    guids: { before: string; staged: string }
    what: string
    seen: Set<string>
  },
): Promise<void> {
  const { volumes, model, guids, root, device } = made
  const now = await volumes.find('disk')
  const isNew = now?.guid === guids.staged
  made.seen.add(isNew ? 'new' : 'old')
  t.is(now?.guid, isNew ? guids.staged : guids.before)
  t.is(model.read(device, 9), isNew ? (made.what === 'replaced' ? '' : 's') : 'now')
  t.deepEqual(
    model.names().filter((name) => name.includes('/.staged')),
    [],
  )
  const [listed, ...others] = await volumes.list('', 10)
  t.deepEqual([listed?.snapshots.map(({ name }) => name).toSorted(), others], [['later', 's'], []])
  t.is(await contentOf(made, 's'), 's')
  t.is(await contentOf(made, 'later'), 'later')
  for (const name of ['s', 'later']) await volumes.destroySnapshot('disk', name, watch)
  await volumes.destroy('disk', watch)
  t.deepEqual(model.names(), [root])
}
