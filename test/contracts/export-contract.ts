import { execFile } from 'node:child_process'
import { closeSync, openSync, truncateSync, writeSync } from 'node:fs'
import { promisify } from 'node:util'
import type { ExecutionContext } from 'ava'
import type { ExportTargets, WantedTarget } from '../../agent/export/exports.ts'
import { findTool } from '../../deploy/tools.ts'
import { holdSession, holds, type Login, onLun } from '../harness/initiator.ts'
import { until } from '../harness/until.ts'

export interface ExportSubject {
  readonly targets: ExportTargets
  /** `addr:port` that this machine reaches. */
  readonly portal: string
  /** A volume of `sizeBytes` whose first MiB is `byte`; its guid is given once. */
  volume(name: string, byte: number): Promise<{ readonly device: string; readonly guid: string }>
  /** Makes it larger; absent: it cannot be done here. */
  grow?(device: string, sizeBytes: number): Promise<void>
}

type Declare = (title: string, body: (t: ExecutionContext) => Promise<void>) => void

const NAME = 'iqn.2026-01.test.contract'
export const CONTRACT_VOLUME_BYTES = 8 * 2 ** 20
const ALICE = `${NAME}:alice`
const BOB = `${NAME}:bob`
const EVE = `${NAME}:eve`
const SECRET = 'secretsecret12'
const { signal } = new AbortController()
const TOOL_TIMEOUT_MS = 20_000

/** A raw image, sparse behind its first MiB. */
export function makeImage(path: string, byte: number): void {
  const file = openSync(path, 'wx')
  writeSync(file, Buffer.alloc(2 ** 20, byte))
  closeSync(file)
  truncateSync(path, CONTRACT_VOLUME_BYTES)
}

/** One of libiscsi's own tools. @returns what it says; undefined where it is not let in */
async function libiscsi(tool: string, ...args: readonly string[]): Promise<string | undefined> {
  const run = promisify(execFile)
  try {
    const { stdout } = await run(findTool(tool) ?? tool, [...args], { timeout: TOOL_TIMEOUT_MS })
    return stdout
  } catch {
    return undefined
  }
}

/** What any technology of exports must do, told by initiators in user space. */
export function exportContract(test: Declare, open: (t: ExecutionContext) => Promise<ExportSubject>): void {
  const it = (title: string, body: (t: ExecutionContext, room: Room) => Promise<void>) =>
    test(title, async (t) => body(t, roomOf(t, await open(t))))

  it('the listed initiators alone are let in, to the whole volume, under its own identity', async (t, room) => {
    const one = await room.wanted('one', 0x41)
    t.deepEqual(await room.apply(one), [undefined])
    t.deepEqual(await room.apply(one), [undefined])
    const shown = { wwn: one.wwn, device: one.device, initiators: [ALICE], hasChap: false, sessions: [] }
    t.like(await room.targets.list(signal), [shown])
    t.is(await holds(room.login(one, ALICE), 0x41), true)
    t.is(await onLun(room.login(one, EVE), 'read 0 512'), undefined)
    t.true((await room.discovered(ALICE)).includes(one.wwn))
    t.false((await room.discovered(EVE)).includes(one.wwn))
    t.regex((await room.inquire(one, ALICE, 128)) ?? '', new RegExp(one.guid))
    const capacity = await libiscsi('iscsi-readcapacity16', '-i', ALICE, room.url(one))
    t.regex(capacity ?? '', new RegExp(`Total size:${CONTRACT_VOLUME_BYTES}`))
    t.truthy(await onLun(room.login(one, ALICE), 'write -P 0x42 0 65536', 'flush'))
    t.is(await holds(room.login(one, ALICE), 0x42), true)
    t.deepEqual(await room.targets.remove([{ wwn: one.wwn, force: false }], signal), [undefined])
    t.deepEqual(await room.targets.remove([{ wwn: one.wwn, force: false }], signal), [undefined])
    t.deepEqual(await room.targets.list(signal), [])
    t.is(await onLun(room.login(one, ALICE), 'read 0 512'), undefined)
  })

  it('with CHAP the right secret is asked for, the new one once it is changed, and none once it is gone', async (t, room) => {
    const one = await room.wanted('chap', 0x43)
    const withSecret = (secret: string) => ({ ...one, access: { initiators: [ALICE], chap: { user: 'al', secret } } })
    const enters = async (user: string, secret: string) =>
      (await libiscsi('iscsi-inq', '-i', ALICE, `iscsi://${user}%${secret}@${room.path(one)}`)) !== undefined
    t.deepEqual(await room.apply(withSecret(SECRET)), [undefined])
    t.like((await room.targets.list(signal))[0], { hasChap: true })
    t.is(await room.inquire(one, ALICE, 128), undefined)
    t.false(await enters('al', 'wrongwrong1234'))
    t.false(await enters('bo', SECRET))
    t.true(await enters('al', SECRET))
    t.is(await libiscsi('iscsi-inq', '-i', EVE, `iscsi://al%${SECRET}@${room.path(one)}`), undefined)
    t.deepEqual(await room.apply(withSecret('anothersecret')), [undefined])
    t.false(await enters('al', SECRET))
    t.true(await enters('al', 'anothersecret'))
    t.deepEqual(await room.apply(one), [undefined])
    t.truthy(await room.inquire(one, ALICE, 128))
  })

  it('what is shown for reading refuses every write, until it is shown for writing again', async (t, room) => {
    const one = await room.wanted('ro', 0x46)
    const readonly = { ...one, access: { ...one.access, isReadonly: true } }
    t.deepEqual(await room.apply(readonly), [undefined])
    t.like(await room.targets.list(signal), [{ wwn: one.wwn, initiators: [ALICE], isReadonly: true }])
    // It is asked to write in each of the ways that there are, and says that it is write-protected.
    const suite = await libiscsi('iscsi-test-cu', '-i', ALICE, '-d', '-s', '-n', '-t', 'ALL.ReadOnly', room.url(one))
    t.regex(suite ?? '', /tests +1 +1 +1 +0/)
    t.regex(suite ?? '', /asserts +(\d\d+) +\1 +\1 +0/)
    t.is(await onLun(room.login(one, ALICE), 'write -P 0x47 0 65536', 'flush'), undefined)
    t.is(await holds({ ...room.login(one, ALICE), reads: true }, 0x46), true)
    t.deepEqual(await room.apply(one), [undefined])
    t.like(await room.targets.list(signal), [{ isReadonly: false }])
    t.truthy(await onLun(room.login(one, ALICE), 'write -P 0x47 0 65536', 'flush'))
    t.is(await holds(room.login(one, ALICE), 0x47), true)
    t.deepEqual(await room.apply(readonly), [undefined])
    t.is(await onLun(room.login(one, ALICE), 'write -P 0x48 0 65536', 'flush'), undefined)
    t.is(await holds({ ...room.login(one, ALICE), reads: true }, 0x47), true)
  })

  it('an initiator that is listed no more loses its session, and the others keep theirs', async (t, room) => {
    const one = await room.wanted('acl', 0x44)
    const both = { ...one, access: { initiators: [ALICE, BOB], chap: undefined } }
    await room.apply(both)
    const [alice, bob] = [await room.hold(one, ALICE), await room.hold(one, BOB)]
    t.deepEqual(await room.sessions(one), [ALICE, BOB])
    t.deepEqual(await room.apply({ ...one, access: { initiators: [BOB, EVE], chap: undefined } }), [undefined])
    t.deepEqual(await room.sessions(one), [BOB])
    t.true(await bob.reads())
    t.is(await holds(room.login(one, EVE), 0x44), true)
    t.is(await onLun(room.login(one, ALICE), 'read 0 512'), undefined)
    await Promise.all([alice.end(), bob.end()])
  })

  it('what is in use is not removed without force, and nobody who was forced out comes back', async (t, room) => {
    const one = await room.wanted('use', 0x45)
    await room.apply(one)
    const alice = await room.hold(one, ALICE)
    const [refusal] = await room.targets.remove([{ wwn: one.wwn, force: false }], signal)
    t.like(refusal, { code: 'conflict', blockers: [ALICE] })
    t.true(await alice.reads())
    t.deepEqual(await room.targets.remove([{ wwn: one.wwn, force: true }], signal), [undefined])
    t.deepEqual(await room.targets.list(signal), [])
    await alice.end()
  })

  it('a target never changes its volume; made again for another one it shows that alone', async (t, room) => {
    const old = await room.wanted('old', 0x46)
    await room.apply(old)
    const identity = await room.inquire(old, ALICE, 131)
    const stale = await room.hold(old, ALICE)
    const next = { ...(await room.wanted('next', 0x47)), wwn: old.wwn }
    t.like((await room.apply(next))[0], { code: 'conflict' })
    t.like((await room.apply({ ...old, wwn: `${NAME}:second` }))[0], { code: 'conflict' }, 'one volume in two targets')
    t.is(await holds(room.login(old, ALICE), 0x46), true)
    t.deepEqual(await room.targets.remove([{ wwn: old.wwn, force: true }], signal), [undefined])
    const forBob = { ...next, access: { initiators: [BOB], chap: undefined } }
    t.deepEqual(await room.apply(forBob), [undefined])
    t.is(await holds(room.login(next, BOB), 0x47), true)
    t.deepEqual(await room.sessions(next), [])
    t.not(await room.inquire(next, BOB, 131), identity)
    t.regex((await room.inquire(next, BOB, 128)) ?? '', new RegExp(next.guid))
    await stale.end()
  })

  it('of many at once each fails alone', async (t, room) => {
    const some = await Promise.all([...Array(12).keys()].map((n) => room.wanted(`many-${n}`, 0x50 + n)))
    const bad = [
      { ...some[0], wwn: `${NAME}:away`, device: `${some[0]?.device}-away`, guid: 'away' },
      { ...some[1], wwn: 'not a name' },
      { ...some[2], wwn: `${NAME}:open`, access: { initiators: [], chap: undefined } },
    ] as readonly WantedTarget[] // as: there are twelve
    const answers = await room.apply(...some.slice(0, 6), ...bad, ...some.slice(6))
    t.deepEqual(
      answers.map((answer) => (answer === undefined ? '' : 'failed')),
      [...Array(6).fill(''), 'failed', 'failed', 'failed', ...Array(6).fill('')],
    )
    t.like(answers[6], { code: 'not_found' })
    t.is((await room.targets.list(signal)).length, 12)
    const last = some[11] as WantedTarget // as: there are twelve
    t.is(await holds(room.login(last, ALICE), 0x50 + 11), true)
  })

  it('a volume that grew is seen as large as it is', async (t, room) => {
    const one = await room.wanted('grow', 0x48)
    await room.apply(one)
    if (room.grow === undefined) {
      t.pass()
      return
    }
    await room.grow(one.device, 2 * CONTRACT_VOLUME_BYTES)
    await room.targets.resized(one.device, signal)
    await until('the new size is seen', async () => {
      const told = await libiscsi('iscsi-readcapacity16', '-i', ALICE, room.url(one))
      return told?.includes(`Total size:${2 * CONTRACT_VOLUME_BYTES}`)
    })
    t.is(await holds(room.login(one, ALICE), 0x48), true)
  })
}

type Room = ReturnType<typeof roomOf>

function roomOf(t: ExecutionContext, { targets, portal, volume, grow }: ExportSubject) {
  const path = ({ wwn }: WantedTarget) => `${portal}/${wwn}/${targets.lun}`
  const url = (one: WantedTarget) => `iscsi://${path(one)}`
  const login = ({ wwn }: WantedTarget, initiator: string): Login => ({
    ...{ portal, target: wwn, lun: targets.lun, initiator },
  })
  return {
    ...{ targets, grow, path, url, login },
    /** A new volume, for Alice. */
    async wanted(name: string, byte: number): Promise<WantedTarget> {
      const made = await volume(name, byte)
      return { ...made, wwn: `${NAME}:${name}`, access: { initiators: [ALICE], chap: undefined } }
    },
    apply: (...wanted: readonly WantedTarget[]) => targets.apply(wanted, signal),
    inquire: (one: WantedTarget, initiator: string, page: number) =>
      libiscsi('iscsi-inq', '-i', initiator, '-e', '1', '-c', String(page), url(one)),
    discovered: async (initiator: string) => (await libiscsi('iscsi-ls', '-i', initiator, `iscsi://${portal}/`)) ?? '',
    async sessions(one: WantedTarget): Promise<readonly string[]> {
      const found = (await targets.list(signal)).find(({ wwn }) => wwn === one.wwn)
      return (found?.sessions ?? []).map(({ initiator }) => initiator).toSorted()
    },
    async hold(one: WantedTarget, initiator: string) {
      const session = await holdSession(login(one, initiator))
      t.teardown(() => session.end())
      return session
    },
  }
}
