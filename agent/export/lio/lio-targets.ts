import { join } from 'node:path'
import { FleetError, toFleetError } from '../../../shared/errors.ts'
import { IscsiName } from '../../../shared/volume-spec.ts'
import type { ExportTargets, StandingTarget, WantedTarget } from '../exports.ts'
import { checkAccess, initiatorsOf, isReadonly, needsChap, sessionsOf } from './access.ts'
import { directoriesIn, isDirectory } from './configfs.ts'
import { TARGET_ROOT, type TargetPaths, targetPaths } from './layout.ts'
import { findStore, namesOfStores, resizeStore } from './stores.ts'
import { adjust, build, foreign, stateOf, takeDown } from './target.ts'

/** How often it is looked whether what was made is still there. */
const LOOK_MS = 15_000

export interface LioSettings {
  /** `addr:port`, with brackets around an IPv6 address; the kernel listens there. */
  readonly portals: readonly string[]
  readonly root?: string
}

/** Whether the kernel's target is there: target_core_mod is loaded and configfs mounted. */
export function hasLio(root = TARGET_ROOT): Promise<boolean> {
  return isDirectory(join(root, 'core'))
}

/**
 * Targets of the kernel, made through configfs: no tool, no child process. What was made outlives the agent, and no reboot. Changes are
 * made one after the other.
 * @throws unavailable where the kernel's target is not there
 */
export async function openLioTargets({ portals, root = TARGET_ROOT }: LioSettings): Promise<ExportTargets> {
  if (!(await hasLio(root))) throw new FleetError('unavailable', 'the kernel of this host has no iSCSI target loaded')
  let tail: Promise<unknown> = Promise.resolve()
  const made = new Set<string>()
  const lost = new Set<() => void>()

  function inTurn<Result>(act: () => Promise<Result>): Promise<Result> {
    const result = tail.then(act)
    tail = result.catch(() => undefined)
    return result
  }

  /** Each fails alone. */
  function each<Item>(items: readonly Item[], signal: AbortSignal, act: (item: Item) => Promise<void>) {
    return inTurn(async () => {
      const failures: (Error | undefined)[] = []
      for (const item of items) {
        failures.push(
          signal.aborted
            ? new FleetError('cancelled', 'cancelled')
            : await act(item).then(
                () => undefined,
                (error) => toFleetError(error),
              ),
        )
      }
      return failures
    })
  }

  async function applyOne(wanted: WantedTarget): Promise<void> {
    if (IscsiName.safeParse(wanted.wwn).data !== wanted.wwn) throw new FleetError('invalid', 'no iSCSI name')
    checkAccess(wanted.access)
    const paths = targetPaths(root, wanted.wwn)
    const state = await stateOf(root, paths)
    if (state.kind === 'foreign') throw foreign(wanted.wwn)
    if (state.kind === 'open') {
      if (state.store.device !== wanted.device || state.store.serial !== wanted.guid) {
        throw new FleetError('conflict', `${wanted.wwn} exports another volume`)
      }
      await adjust(paths, { wanted, portals })
      return
    }
    if (state.kind === 'half') await takeDown(root, paths)
    await build(root, paths, { wanted, portals }).catch(async (error) => {
      if ((await stateOf(root, paths)).kind === 'half') await takeDown(root, paths)
      throw error
    })
    made.add(wanted.wwn)
  }

  async function removeOne({ wwn, force }: { readonly wwn: string; readonly force: boolean }): Promise<void> {
    const paths = targetPaths(root, wwn)
    const state = await stateOf(root, paths)
    if (state.kind === 'absent') return
    if (state.kind === 'foreign') throw foreign(wwn)
    const sessions = await sessionsOf(paths, await initiatorsOf(paths))
    if (sessions.length > 0 && !force) {
      const blockers = sessions.map(({ initiator }) => initiator)
      throw new FleetError('conflict', `${wwn} is in use`, { blockers })
    }
    await takeDown(root, paths)
    made.delete(wwn)
  }

  /** Also those that a call which was cut off left half made, or of which it left the store alone. */
  async function ours(wwns?: readonly string[]): Promise<readonly TargetPaths[]> {
    const names = wwns ?? [...(await directoriesIn(join(root, 'iscsi'))), ...(await namesOfStores(root))]
    const sound = [...new Set(names)].filter((name) => IscsiName.safeParse(name).data === name)
    const all = sound.map((name) => targetPaths(root, name))
    const states = await Promise.all(all.map((paths) => findStore(root, paths)))
    return all.filter((_, index) => states[index] !== undefined)
  }

  async function describe(paths: TargetPaths): Promise<StandingTarget | undefined> {
    const { wwn } = paths
    const state = await stateOf(root, paths)
    if (state.kind === 'half') {
      return { wwn, device: '', guid: undefined, initiators: [], hasChap: false, isReadonly: false, sessions: [] }
    }
    if (state.kind !== 'open') return undefined
    const initiators = await initiatorsOf(paths)
    return {
      wwn,
      device: state.store.device,
      guid: state.store.serial === '' ? undefined : state.store.serial,
      initiators,
      hasChap: await needsChap(paths),
      isReadonly: await isReadonly(paths),
      sessions: await sessionsOf(paths, initiators),
    }
  }

  const timer = setInterval(() => {
    void inTurn(async () => {
      if (made.size === 0) return
      const standing = await directoriesIn(join(root, 'iscsi'))
      if (standing.some((wwn) => made.has(wwn))) return
      made.clear()
      for (const callback of lost) callback()
    }).catch(() => undefined)
  }, LOOK_MS)
  timer.unref()
  for (const { wwn } of await ours()) made.add(wwn)

  return {
    name: 'lio',
    lun: 0,
    portals,
    apply: (wanted, signal) => each(wanted, signal, applyOne),
    remove: (asked, signal) => each(asked, signal, removeOne),

    async list(signal, wwns) {
      const standing: StandingTarget[] = []
      for (const paths of await ours(wwns)) {
        if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
        const one = await describe(paths)
        if (one !== undefined) standing.push(one)
      }
      return standing
    },

    resized: (device) =>
      inTurn(async () => {
        for (const paths of await ours()) {
          const store = await findStore(root, paths)
          if (store?.device === device) await resizeStore(store)
        }
      }),

    shownGuid: (guid) => guid,

    onLost(callback) {
      lost.add(callback)
    },

    async close() {
      clearInterval(timer)
      await tail
    },
  }
}
