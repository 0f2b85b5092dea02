import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { FleetError } from '../../../shared/errors.ts'
import type { Progress } from '../../../shared/job-event.ts'
import { newBoxKeys, openSealed, sealFor } from '../../../shared/sealed-box.ts'
import type { ExportElement } from '../../../shared/volume-spec.ts'
import { contextOf, memoryOf, pipelineContract } from '../../../test/contracts/pipeline-contract.ts'
import {
  type ExportRoom,
  IMAGE_BYTE,
  INITIATOR,
  openExportRoom,
  type PoolKind,
  STRANGER,
  unexportOf,
  wwnOf,
} from '../../../test/harness/export-host.ts'
import { holdSession, holds, onLun } from '../../../test/harness/initiator.ts'
import { lacksExports } from '../../../test/harness/lacks-exports.ts'
import { mountLoop, sharedMounts } from '../../../test/harness/loop-mount.ts'
import { failureOf } from '../../../test/harness/point-orders.ts'
import { testUnless } from '../../../test/harness/system-packages.ts'
import { openWork } from '../pipelines.ts'
import { parseNote } from './making-note.ts'

const lacks = lacksExports()
const it = testUnless(lacks)
const mounted = sharedMounts(test)
const unwatched = { signal: new AbortController().signal, progress: () => undefined }
const keys = newBoxKeys()
const unseal = (sealed: Buffer, context: string) => openSealed(keys.privateKey, sealed, context)

async function room(t: ExecutionContext, driver: PoolKind = 'reflink', on?: string): Promise<ExportRoom> {
  const path = on ?? mkdtempSync(join(mounted(driver === 'btrfs' ? 'btrfs' : 'xfs'), 'pool-'))
  const opened = await openExportRoom({ driver, path, unseal })
  t.teardown(() => opened[Symbol.asyncDispose]())
  return opened
}

const create = (...elements: ExportElement[]) => ({ kind: 'export.create' as const, elements })

for (const driver of ['btrfs', 'reflink'] as const)
  it(`on ${driver}: a list is cloned and exported, to its initiators alone, and what one writes stays in its clone`, async (t) => {
    const host = await room(t, driver)
    const { element, run, login } = host
    const [one, two] = [element(1), element(2)]
    const told: Progress[] = []
    const made = await run(create(one, two), { progress: (progress) => told.push(progress) })
    t.deepEqual(
      made.done.map(({ n, reused, diverged, volume }) => [n, reused, diverged, volume.cow]),
      [
        [1, false, false, true],
        [2, false, false, true],
      ],
    )
    t.deepEqual(made.errors, [])
    t.true(made.times.cloneSeconds > 0 && made.times.targetSeconds > 0)
    t.deepEqual([...new Set(told.map(({ phase }) => phase))], ['clone', 'devices', 'targets'])
    t.like(told.at(-1), { percent: 100, elements: 2, endedElements: 2, totalElements: 2 })
    t.true(await holds(login(one), IMAGE_BYTE))
    t.is(await holds(login(one, STRANGER), IMAGE_BYTE), undefined)
    t.truthy(await onLun(login(one), 'write -P 17 0 65536', 'flush'))
    t.true(await holds(login(one), 17))
    t.true(await holds(login(two), IMAGE_BYTE))
    const image = await host.volumes('a').find('image')
    t.true(readFileSync(image?.device ?? '').equals(Buffer.alloc(image?.sizeBytes ?? 0, IMAGE_BYTE)))

    // Again, for somebody else: what is there is used as it is, and the initiator that is not listed any more is let in no more.
    const held = await holdSession(login(one))
    t.teardown(() => held.end())
    const sessions = async () =>
      (await host.exports.standing(unwatched.signal, [one.wwn])).flatMap((each) => each.sessions)
    t.like(await sessions(), [{ initiator: INITIATOR }])
    const access = { initiators: [STRANGER], chapUser: null }
    const again = await run(create({ ...one, access }, { ...two, access }))
    t.deepEqual(
      again.done.map(({ n, reused, diverged }) => [n, reused, diverged]),
      [
        [1, true, true],
        [2, true, false],
      ],
    )
    t.deepEqual(await sessions(), [])
    await held.end()
    t.is(await holds(login(one), 17), undefined)
    t.true(await holds(login(one, STRANGER), 17))
    const removing = host.volumes('a').destroySnapshot('image', 'golden', unwatched)
    t.like(await t.throwsAsync(removing), { code: 'conflict', blockers: ['nodes/disk-1', 'nodes/disk-2'] })
  })

it('each element fails alone, and leaves nothing of itself', async (t) => {
  const host = await room(t)
  const { element, run, observe } = host
  await host.volumes('a').create({ volume: 'other', sizeBytes: 65_536, createParent: false }, unwatched)
  const taken = element(0)
  await run(create(taken))
  const gone = { pool: 'a', volume: 'image', snapshot: 'none' }
  const { done, errors } = await run(
    create(
      element(1),
      element(2, { source: gone }),
      element(3, { place: { pool: 'a', volume: 'other' } }),
      element(4, { wwn: taken.wwn }),
      element(5, { place: { pool: 'b', volume: 'x' }, source: { ...gone, pool: 'b' } }),
      element(6, { place: { pool: 'a', volume: 'no/parent' }, createParent: false }),
      element(7, { source: null, place: { pool: 'a', volume: 'nothing' } }),
      element(8, { wwn: wwnOf(1) }),
      element(9, { access: { initiators: ['iqn.2020-01.test:i'], chapUser: 'user' } }),
      // What fails last: its clone is there by then.
      element(10, { access: { initiators: ['iqn.2020-01.test:i,x'], chapUser: null } }),
      // A second target for a volume that this very list makes, and the first for one that was there.
      element(11, { place: { pool: 'a', volume: 'nodes/disk-1' } }),
      element(12, { source: null, place: { pool: 'a', volume: 'other' } }),
    ),
  )
  t.deepEqual(
    errors.map(({ n, code }) => [n, code]),
    [
      [2, 'not_found'],
      [3, 'exists'],
      [4, 'conflict'],
      [5, 'not_found'],
      [6, 'not_found'],
      [7, 'not_found'],
      [8, 'conflict'],
      [9, 'refused'],
      [10, 'invalid'],
      [11, 'conflict'],
    ],
  )
  t.deepEqual(
    done.map(({ n, reused }) => [n, reused]),
    [
      [1, false],
      [12, false],
    ],
  )
  const { volumes, kept, standing } = await observe()
  t.deepEqual(volumes, ['image', 'nodes/disk-0', 'nodes/disk-1', 'other'])
  t.is(kept.length, 3)
  t.is(standing.length, 3)
  t.is((await failureOf(t, run(create(element(20)), { secret: 'AAAA' }))).code, 'refused')
})

it('an export asks for the secret that came sealed for this order alone', async (t) => {
  const { element, run, exports } = await room(t)
  const one = element(1, { access: { initiators: ['iqn.2020-01.test:i'], chapUser: 'user' } })
  const jobId = '01900000-0000-7000-8000-000000000001'
  const secrets = Buffer.from(JSON.stringify({ [one.wwn]: 'a secret of twelve' }))
  const sealedFor = (context: string) => sealFor(keys.publicKey, secrets, context).toString('base64')
  t.is((await failureOf(t, run(create(one), { jobId, secret: sealedFor('order/other') }))).code, 'refused')
  t.deepEqual((await run(create(one), { jobId, secret: sealedFor(`order/${jobId}`) })).errors, [])
  t.like((await exports.standing(unwatched.signal))[0], { wwn: one.wwn, hasChap: true })
  t.false(JSON.stringify(exports.kept().map(({ access }) => access)).includes('secret'))
})

it('what is cancelled in the middle of a call is taken back, and exports that were there before are as they were', async (t) => {
  const host = await room(t)
  const { element, run, observe } = host
  const before = element(0)
  await run(create(before))
  const seen = await observe()
  const access = { initiators: [STRANGER], chapUser: null }
  const list = [{ ...before, access }, ...Array.from({ length: 20 }, (_, n) => element(n + 1))]
  for (const phase of ['clone', 'devices', 'targets']) {
    const cancel = new AbortController()
    const memory = memoryOf()
    const reason = new FleetError('cancelled', 'the job was cancelled')
    const progress = (told: Progress) => {
      if (told.phase === phase) setImmediate(() => cancel.abort(reason))
    }
    const failure = await failureOf(t, run(create(...list), { memory, signal: cancel.signal, progress }))
    t.is(failure.code, 'cancelled', phase)
    t.deepEqual(await observe(), seen, phase)
    t.is(memory.staged(), '', phase)
  }
})

it('what was made or taken since the first look is noted call by call', async (t) => {
  const host = await room(t)
  const { element, tools } = host
  const volumes = host.volumes('a')
  const source = { volume: 'image', snapshot: 'golden' }
  const clone = (n: number) => ({ source, target: element(n).place.volume, createParent: true })
  const hundred = Array.from({ length: 100 }, (_, n) => n)
  await volumes.clone(hundred.map(clone), unwatched)
  const memory = memoryOf()
  const seen: (string | undefined)[] = []
  const context = { ...contextOf('j', memory), progress: () => seen.push(memory.staged()) }
  const { steps } = await openWork(create(...[...hundred, 100].map((n) => element(n))), 'j', tools)
  await steps[0]?.run(context)
  t.deepEqual([...(parseNote(memory.staged())?.clones ?? [])], [100])
  await volumes.destroy(element(0).place.volume, unwatched)
  await volumes.clone([clone(100)], unwatched)
  await steps[1]?.run(context)
  t.deepEqual(
    seen.map((staged) => [...(parseNote(staged)?.clones ?? [])]),
    [[100], [0, 100], [0]],
  )
})

it('an export that another order made since stays when this one is taken back', async (t) => {
  const host = await room(t)
  const { element, run, tools, observe } = host
  const one = element(1)
  const context = contextOf('j')
  const { steps } = await openWork(create(one), 'j', tools)
  for (const step of steps.slice(0, 2)) await step.run(context)
  await run(create(element(1, { source: null })))
  const seen = await observe()
  await steps[0]?.undo?.(context)
  t.deepEqual(await observe(), seen)
})

it('a pool that is full fails those that find no room, and holds the others', async (t) => {
  const path = mountLoop(t, 'xfs')
  const pool = join(path, 'pool')
  mkdirSync(pool)
  const { element, run, observe } = await room(t, 'reflink', pool)
  const free = Number(execFileSync('/usr/bin/stat', ['-f', '-c', '%a', path])) * 4096
  execFileSync('/usr/bin/fallocate', ['-l', String(free - 196608), join(path, 'ballast')])
  const elements = Array.from({ length: 200 }, (_, n) => element(n))
  const { done, errors } = await run(create(...elements))
  t.log(`${done.length} made, ${errors.length} not`)
  t.is(done.length + errors.length, 200)
  t.true(errors.length > 0)
  t.true(errors.every(({ code }) => code === 'no_space'))
  const seen = await observe()
  t.is(seen.volumes.length, 1 + done.length)
  t.is(seen.kept.length, done.length)
  t.is(seen.standing.length, done.length)
})

it('two hundred in one order, and gone in one', async (t) => {
  const { element, run, observe } = await room(t, 'btrfs')
  const elements = Array.from({ length: 200 }, (_, n) => element(n))
  const { done, errors, times } = await run(create(...elements))
  t.log(times)
  t.deepEqual([done.length, errors.length], [200, 0])
  t.is((await observe()).standing.length, 200)
  const deleted = await run({ kind: 'export.delete', elements: elements.map((one) => unexportOf(one)) })
  t.log(deleted.times)
  t.deepEqual([deleted.done.length, deleted.errors.length], [200, 0])
  t.deepEqual(await observe(), { volumes: ['image'], kept: [], standing: [] })
})

pipelineContract(test, {
  kind: 'export.create',
  async prepare(t) {
    if (lacks !== undefined) return undefined
    const { element, tools, observe } = await room(t)
    const elements = [element(1), element(2)]
    const times = { cloneSeconds: 0, deviceSeconds: 0, targetSeconds: 0 }
    return {
      async open(jobId) {
        const work = await openWork(create(...elements), jobId, tools)
        return { ...work, result: () => ({ ...work.result(), times }) }
      },
      observe,
    }
  },
})
