import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdirSync, rmdirSync, truncateSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { openLioTargets } from '../../agent/export/lio/lio-targets.ts'
import { openZfsVolumes } from '../../agent/volumes/zfs/zfs-volumes.ts'
import { findTool } from '../../deploy/tools.ts'
import { watch } from '../contracts/driver-contract.ts'
import { CONTRACT_VOLUME_BYTES, type ExportSubject, exportContract } from '../contracts/export-contract.ts'
import { freePort } from '../harness/free-port.ts'
import { lacksInitiator as lacksLibiscsi } from '../harness/initiator.ts'
import { lacksTool, testUnless } from '../harness/system-packages.ts'
import { lacksInitiator, lacksLio, lacksZfs, makeRoom, type Room, standingTargets, tool } from './room.ts'

const MIB = 2 ** 20
const { signal } = watch
const NAME = 'iqn.2026-01.test.lab'
const inLio = testUnless(lacksLio() ?? lacksZfs())
const withInitiator = testUnless(lacksLio() ?? lacksZfs() ?? lacksInitiator())
let made: Room | undefined

function room(): Room {
  made ??= makeRoom()
  return made
}
test.after.always(() => made?.close())

/** Targets of the kernel on zvols of a file system of its own; none of either is left. */
async function openContract(t: ExecutionContext): Promise<ExportSubject> {
  const root = `${room().pool}/e${randomUUID().slice(0, 8)}`
  tool('zfs', 'create', root)
  const volumes = await openZfsVolumes(root)
  const portal = `127.0.0.1:${await freePort()}`
  const targets = await openLioTargets({ portals: [portal] })
  t.teardown(async () => {
    const standing = await targets.list(signal)
    await targets.remove(
      standing.map(({ wwn }) => ({ wwn, force: true })),
      signal,
    )
    await targets.close()
  })
  return {
    targets,
    portal,
    async volume(name, byte) {
      const volume = await volumes.create(
        { volume: name, sizeBytes: CONTRACT_VOLUME_BYTES, createParent: false },
        watch,
      )
      await volumes.settle([volume], watch)
      const file = await open(volume.device, 'r+')
      await file.write(Buffer.alloc(2 ** 20, byte), 0, 2 ** 20, 0)
      await file.sync()
      await file.close()
      return volume
    },
    async grow(device, sizeBytes) {
      await volumes.resize({ volume: device.slice(`/dev/zvol/${root}/`.length), sizeBytes }, watch)
    },
  }
}
const lacksClients = lacksTool('iscsi-inq', 'iscsi-readcapacity16') ?? lacksLibiscsi()
exportContract(testUnless(lacksLio() ?? lacksZfs() ?? lacksClients), openContract)

/** What libiscsi says to an inquiry as this initiator; undefined where it is not let in. */
function inquire(initiator: string, url: string): Promise<string | undefined> {
  const file = findTool('iscsi-inq') ?? '/usr/bin/iscsi-inq'
  return new Promise((resolve) => {
    const args = ['-i', initiator, '-e', '1', '-c', '128', url]
    execFile(file, args, { encoding: 'utf8', timeout: 30_000 }, (error, stdout) => resolve(error ? undefined : stdout))
  })
}

inLio(
  'a volume is open to the listed initiators alone, with its guid as serial number, and nothing is left',
  async (t) => {
    const portal = `127.0.0.1:${await freePort()}`
    const targets = await openLioTargets({ portals: [portal] })
    const volumes = await openZfsVolumes(room().pool)
    const before = standingTargets()
    const volume = await volumes.create({ volume: 'one', sizeBytes: 8 * MIB, createParent: false }, watch)
    await volumes.settle([volume], watch)
    const wwn = `${NAME}:one`
    const wanted = {
      wwn,
      device: volume.device,
      guid: volume.guid,
      access: { initiators: [`${NAME}:a`], chap: undefined },
    }
    t.deepEqual(await targets.apply([wanted], signal), [undefined])
    t.deepEqual(await targets.apply([wanted], signal), [undefined])
    t.deepEqual(await targets.list(signal), [
      {
        wwn,
        device: volume.device,
        guid: volume.guid,
        initiators: [`${NAME}:a`],
        hasChap: false,
        isReadonly: false,
        sessions: [],
      },
    ])
    const url = `iscsi://${portal}/${wwn}/0`
    t.regex((await inquire(`${NAME}:a`, url)) ?? '', new RegExp(volume.guid))
    t.is(await inquire(`${NAME}:b`, url), undefined)

    const chap = { user: 'alice', secret: 'secretsecret12' }
    const both = { ...wanted, access: { initiators: [`${NAME}:b`], chap } }
    t.deepEqual(await targets.apply([both], signal), [undefined])
    t.is(await inquire(`${NAME}:a`, url), undefined)
    t.is(await inquire(`${NAME}:b`, url), undefined)
    t.is(await inquire(`${NAME}:b`, `iscsi://alice%wrongwrong1234@${portal}/${wwn}/0`), undefined)
    t.truthy(await inquire(`${NAME}:b`, `iscsi://alice%secretsecret12@${portal}/${wwn}/0`))
    t.like((await targets.list(signal))[0], { hasChap: true, initiators: [`${NAME}:b`] })

    const [other] = await targets.apply([{ ...wanted, guid: '1' }], signal)
    t.like(other, { code: 'conflict' })
    const [second] = await targets.apply([{ ...wanted, wwn: `${NAME}:second` }], signal)
    t.like(second, { code: 'conflict' }, 'one volume under two names')
    const nothing = { ...wanted, wwn: `${NAME}:none`, device: '/dev/zvol/none' }
    t.like((await targets.apply([nothing], signal))[0], { code: 'not_found' })
    t.deepEqual(await targets.remove([{ wwn, force: false }], signal), [undefined])
    t.deepEqual(await targets.remove([{ wwn, force: false }], signal), [undefined])
    t.deepEqual(standingTargets(), before)
    t.is(await inquire(`${NAME}:b`, url), undefined)
    await volumes.destroy('one', watch)
    await targets.close()
  },
)

inLio("somebody else's target is left alone; one that was left half made is made again", async (t) => {
  const targets = await openLioTargets({ portals: [`127.0.0.1:${await freePort()}`] })
  const image = join(room().directory, 'image.raw')
  writeFileSync(image, '')
  truncateSync(image, 4 * MIB)
  const access = { initiators: [`${NAME}:a`], chap: undefined }
  const wanted = { wwn: `${NAME}:theirs`, device: image, guid: 'f0f0', access }
  const theirs = `/sys/kernel/config/target/iscsi/${wanted.wwn}`
  mkdirSync('/sys/kernel/config/target/iscsi', { recursive: true })
  mkdirSync(theirs)
  t.like((await targets.apply([wanted], signal))[0], { code: 'conflict' })
  t.like((await targets.remove([{ wwn: wanted.wwn, force: true }], signal))[0], { code: 'conflict' })
  t.deepEqual(await targets.list(signal), [])
  rmdirSync(theirs)

  t.deepEqual(await targets.apply([wanted], signal), [undefined], 'a raw image')
  writeFileSync(join(theirs, 'tpgt_1', 'enable'), '0')
  const [half] = await targets.list(signal)
  t.like(half, { wwn: wanted.wwn, device: '', initiators: [] }, 'half')
  t.deepEqual(await targets.apply([wanted], signal), [undefined])
  t.is((await targets.list(signal)).length, 1)
  truncateSync(image, 8 * MIB)
  await targets.resized(image, signal)
  t.deepEqual(await targets.remove([{ wwn: wanted.wwn, force: false }], signal), [undefined])
  await targets.close()
})

withInitiator(
  'the host logs in, reads and writes; while it does the target is in use, and force ends its session',
  async (t) => {
    const port = await freePort()
    const portal = `127.0.0.1:${port}`
    const targets = await openLioTargets({ portals: [portal] })
    const volumes = await openZfsVolumes(room().pool)
    await volumes.create({ volume: 'golden', sizeBytes: 16 * MIB, createParent: false }, watch)
    await volumes.snapshot({ volume: 'golden', snapshot: 's' }, watch)
    const source = { volume: 'golden', snapshot: 's' }
    const [clone] = await volumes.clone([{ source, target: 'nodes/n1', createParent: true }], watch)
    if (clone === undefined || clone instanceof Error) return t.fail(String(clone))
    await volumes.settle([clone.volume], watch)
    const own = /InitiatorName=(\S+)/.exec(tool('cat', '/etc/iscsi/initiatorname.iscsi'))?.[1] ?? ''
    const wwn = `${NAME}:journey`
    const access = { initiators: [own], chap: undefined }
    const wanted = { wwn, device: clone.volume.device, guid: clone.volume.guid, access }
    t.deepEqual(await targets.apply([wanted], signal), [undefined])
    const node = ['-m', 'node', '-T', wwn, '-p', portal]
    try {
      t.true(tool('iscsiadm', '-m', 'discovery', '-t', 'st', '-p', portal).includes(wwn))
      tool('iscsiadm', ...node, '--login')
      const disk = `/dev/disk/by-path/ip-${portal}-iscsi-${wwn}-lun-0`
      tool('udevadm', 'wait', '--timeout=30', disk)
      tool('dd', 'if=/dev/urandom', `of=${disk}`, 'bs=64k', 'count=4', 'oflag=direct', 'conv=fsync')
      t.like((await targets.list(signal))[0]?.sessions[0], { initiator: own })
      t.true((await targets.list(signal))[0]?.sessions[0]?.address.startsWith('127.0.0.1'))
      const [inUse] = await targets.remove([{ wwn, force: false }], signal)
      t.like(inUse, { code: 'conflict', blockers: [own] })
      await t.throwsAsync(volumes.destroy('nodes/n1', watch), { code: 'busy' } as object)
      t.deepEqual(await targets.apply([wanted], signal), [undefined])
      t.is((await targets.list(signal))[0]?.sessions.length, 1, 'applied again, its session goes on')
      const none = { ...wanted, access: { initiators: [`${NAME}:other`], chap: undefined } }
      t.deepEqual(await targets.apply([none], signal), [undefined])
      t.deepEqual((await targets.list(signal))[0]?.sessions, [], 'who is not listed any more is put out')
      t.deepEqual(await targets.remove([{ wwn, force: true }], signal), [undefined])
      const [again] = await volumes.clone([{ source, target: 'nodes/n1', createParent: true }], watch)
      t.like(again, { reused: true, volume: { isWritten: true } })
    } finally {
      try {
        tool('iscsiadm', ...node, '--logout')
      } catch {}
      tool('iscsiadm', ...node, '-o', 'delete')
    }
    await volumes.destroy('nodes/n1', watch)
    await targets.close()
  },
)
