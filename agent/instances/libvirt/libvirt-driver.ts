import { setTimeout as pause } from 'node:timers/promises'
import { FleetError } from '../../../shared/errors.ts'
import { run } from '../../exec/run.ts'
import { digestConfig } from '../config-hash.ts'
import { FROZEN_BEFORE, holdFrozen } from '../hold-frozen.ts'
import { checkInstanceName } from '../instance-name.ts'
import type { FreezeRequest, Instance, InstanceConfig, InstanceMount, Instances } from '../instances.ts'
import type { Watchdogs } from '../watchdog.ts'
import { type DomainXml, readDomainXml } from './domain-xml.ts'
import { createVirsh, isUuid, type Seen, type Virsh } from './virsh.ts'

/** So much of a freeze's bound may pass until its agent has answered; then, until it is halted. */
const GUEST_SHARE = 0.25
const FREEZE_SHARE = 0.5
/** Agents write all that is dirty first. */
const MAX_GUEST_MS = 10_000
const THAW_TIMEOUT_MS = 10_000
const LOOK_AGAIN_MS = 250
/** What was read of a domain is kept for as long as libvirt says the same. */
const MAX_READ = 1_000

export interface LibvirtOptions {
  /** Of this very host: `qemu:///system`. */
  readonly uri: string
  readonly watchdogs: Watchdogs
  /** `<pool>/<volume>` where a file or device is one of this host's volumes. @param path absolute */
  readonly volumeAt: (path: string) => string | undefined
}

type Domain = Seen & DomainXml

/** Domains of one libvirt. None is made here: see IS_MADE_HERE. */
export function createLibvirtDriver({ uri, watchdogs, volumeAt }: LibvirtOptions): Instances {
  const virsh = createVirsh(uri, run)
  const known = new Map<string, { readonly xml: string; readonly read: DomainXml }>()

  function toDomain(seen: Seen): Domain {
    const before = known.get(seen.uuid)
    if (before?.xml === seen.xml) return { ...seen, ...before.read }
    const read = readDomainXml(seen.xml)
    if (known.size >= MAX_READ) known.clear()
    known.set(seen.uuid, { xml: seen.xml, read })
    return { ...seen, ...read }
  }

  async function all(signal: AbortSignal): Promise<readonly Domain[]> {
    return (await virsh.look(await virsh.uuids(signal), signal)).map(toDomain)
  }

  async function seek(id: string, signal: AbortSignal): Promise<Domain | undefined> {
    if (isUuid(id)) {
      const [seen] = await virsh.look([id], signal)
      if (seen !== undefined) return toDomain(seen)
    }
    checkInstanceName(id)
    return (await all(signal)).find(({ name }) => name === id)
  }

  async function get(id: string, signal: AbortSignal): Promise<Domain> {
    const domain = await seek(id, signal)
    if (domain === undefined) throw new FleetError('not_found', 'no domain of this name')
    return domain
  }

  const toInstance = (domain: Domain): Instance => ({
    type: 'libvirt',
    id: domain.uuid,
    name: domain.name,
    state: domain.state,
    pid: undefined,
    rootfs: undefined,
    mounts: domain.disks.map((disk) => mountOf(disk, volumeAt)),
    config: digestConfig(configOf(domain)),
  })

  return {
    type: 'libvirt',
    list: async (signal) => (await all(signal)).map(toInstance),
    async find(id, signal) {
      const domain = await seek(id, signal)
      return domain && toInstance(domain)
    },
    async freeze(request) {
      const domain = await get(request.id, request.signal)
      if (domain.state === 'FROZEN') return FROZEN_BEFORE
      forbidUnless(domain.state === 'RUNNING', domain.state)
      const order = { kind: 'libvirt', uri, domain: domain.uuid, guest: domain.hasAgent } as const
      const { maxMs, signal } = request
      return holdFrozen({ order, maxMs, signal, ...freezing(virsh, domain, request) }, watchdogs)
    },
    async thaw(id, signal) {
      const { uuid, isPaused } = await get(id, signal)
      if (isPaused) await virsh.act('resume', uuid, { signal })
    },
    async start(id, signal) {
      const { uuid, state, isAsleep } = await get(id, signal)
      if (state === 'RUNNING') return
      forbidUnless(state === 'STOPPED' || state === 'SAVED', state)
      await virsh.act(isAsleep ? 'dompmwakeup' : 'start', uuid, { signal })
    },
    async stop(id, { graceMs, signal }) {
      const { uuid, state, isPersistent } = await get(id, signal)
      if (state === 'STOPPED') return
      forbidUnless(state === 'RUNNING', state)
      if (!isPersistent) throw new FleetError('conflict', 'the domain is defined nowhere: stopped, it would be gone')
      if (!(await asked(virsh, uuid, { graceMs, signal }))) await virsh.act('destroy', uuid, { signal })
    },
    readConfig: async (id, signal) => configOf(await get(id, signal)),
  }
}

/**
 * File systems through the agent in it, where one answers in time; then its processors, so that what no file system holds stands still too. Back
 * the other way.
 */
function freezing(virsh: Virsh, { uuid, hasAgent }: Domain, { maxMs }: FreezeRequest) {
  // Neither is ended by the job: what was cut off may take hold later.
  const signal = new AbortController().signal
  const guestMs = Math.min(Math.ceil(maxMs * GUEST_SHARE), MAX_GUEST_MS)
  let guest: 'thawed' | 'frozen' | 'unknown' = 'thawed'
  let isFlushed = false
  return {
    isFlushed: () => isFlushed,
    async freeze() {
      if (hasAgent) {
        guest = 'unknown'
        guest = await virsh.fileSystems('domfsfreeze', uuid, { signal, timeoutMs: guestMs }).then(
          () => 'frozen' as const,
          (thrown) => (isRefusal(thrown) ? 'thawed' : 'unknown'),
        )
      }
      await virsh.act('suspend', uuid, { signal, timeoutMs: Math.ceil(maxMs * FREEZE_SHARE) })
    },
    async thaw() {
      // One that runs, or is off, refuses: it did not stand still until now.
      const resuming = virsh.act('resume', uuid, { signal, timeoutMs: THAW_TIMEOUT_MS })
      const isPaused = await resuming.then(() => true, falseIfConflict)
      if (guest === 'thawed') return isPaused
      const thawing = virsh.fileSystems('domfsthaw', uuid, { signal, timeoutMs: THAW_TIMEOUT_MS })
      const count = await (guest === 'frozen' ? thawing : thawing.catch(() => 0))
      // Somebody may have thawed them first: Windows does so after ten seconds.
      isFlushed = guest === 'frozen' && isPaused && count > 0
      guest = 'thawed'
      return isPaused
    },
  }
}

/** The agent, or libvirt, has said no: nothing is frozen by that. */
function isRefusal(thrown: unknown): boolean {
  if (!(thrown instanceof FleetError) || /took longer/.test(thrown.message)) return false
  return thrown.code === 'internal' || thrown.code === 'conflict'
}

/** @returns whether it is off by itself in time */
async function asked(
  virsh: Virsh,
  uuid: string,
  { graceMs, signal }: { readonly graceMs: number; readonly signal: AbortSignal },
): Promise<boolean> {
  const until = performance.now() + graceMs
  if (graceMs > 0) await virsh.act('shutdown', uuid, { signal }).catch(unlessConflict)
  for (;;) {
    const { state } = await virsh.state(uuid, signal)
    if (state === 'STOPPED') return true
    if (performance.now() >= until) return false
    await pause(LOOK_AGAIN_MS, undefined, { signal }).catch(() => undefined)
    if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
  }
}

function falseIfConflict(thrown: unknown): false {
  unlessConflict(thrown)
  return false
}

/** It went down in this moment, or cannot be asked. */
function unlessConflict(thrown: unknown): void {
  if (!(thrown instanceof FleetError && thrown.code === 'conflict')) throw thrown
}

function mountOf(disk: DomainXml['disks'][number], volumeAt: LibvirtOptions['volumeAt']): InstanceMount {
  const { target, source, isLocal, wwn, readonly } = disk
  const volume = wwn === undefined ? (isLocal ? volumeAt(source) : undefined) : `iscsi:${wwn}`
  return { source, destination: `/dev/${target}`, kind: 'disk', volume, readonly }
}

/** Without passwords: those are not asked for. */
function configOf({ name, kept }: Domain): InstanceConfig {
  return { type: 'libvirt', name, files: { 'domain.xml': Buffer.from(`${kept.trim()}\n`) }, image: undefined }
}

function forbidUnless(allowed: boolean, state: string): void {
  if (!allowed) throw new FleetError('conflict', `the domain is ${state.toLowerCase()}`)
}
