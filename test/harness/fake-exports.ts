import { randomUUID } from 'node:crypto'
import { type Caller, visibleGroup } from '../../control-plane/core/caller.ts'
import type { ElementFailure, ExportBatch, ExportInfo, Exports, LiveExport } from '../../control-plane/core/exports.ts'
import type { VolumeInfo } from '../../control-plane/core/volumes.ts'
import { FleetError } from '../../shared/errors.ts'
import type { JobKind } from '../../shared/job-spec.ts'
import { IscsiName } from '../../shared/volume-spec.ts'
import { fakePage, fakeVolume } from './fake-volumes.ts'

/** What a test arranges and looks at. */
export interface FakeExportControls {
  /** By wwn. */
  readonly exports: Map<string, ExportInfo>
  /** By id. A test may replace one by what it is to be while it runs. */
  readonly batches: Map<string, ExportBatch>
  /** CHAP secrets by wwn, as they were asked for. */
  readonly chapSecrets: Map<string, string>
  /** Of every export; undefined: its host is silent. */
  liveExport: LiveExport | undefined
}

type Accept = (caller: Caller, kind: JobKind, effect: () => unknown) => { jobId: string }
type Controls = FakeExportControls & { readonly volumes: Map<string, VolumeInfo> }

const AT = new Date('2026-01-02T03:04:05.678Z')
const GROUP_ID = '01900000-0000-7000-8000-000000000000'

export function createFakeExportControls(): FakeExportControls {
  return {
    exports: new Map(),
    batches: new Map(),
    chapSecrets: new Map(),
    liveExport: { portal: '127.0.0.1:3260', lun: 0, standing: true, sessions: [] },
  }
}

export function fakeExport(given: Partial<ExportInfo> = {}): ExportInfo {
  return {
    id: randomUUID(),
    groupId: GROUP_ID,
    wwn: 'iqn.2026-01.test:a',
    volume: 'tank/a',
    host: 'host-a',
    initiators: ['iqn.2026-01.test:initiator'],
    chapUser: null,
    isReadonly: false,
    state: 'available',
    createdAt: AT,
    version: 1,
    ...given,
  }
}

/** A batch that has ended well. */
export function fakeBatch(given: Partial<ExportBatch> = {}): ExportBatch {
  return {
    id: randomUUID(),
    groupId: GROUP_ID,
    type: 'create',
    requested: 1,
    createdAt: AT,
    startedAt: AT,
    endedAt: new Date(AT.getTime() + 100),
    jobs: [],
    phase: 'ended',
    passed: 1,
    finished: 1,
    done: [{ n: 0, volume: true, reused: false, diverged: false }],
    errors: [],
    times: { cloneSeconds: 0.25, deviceSeconds: 0.125, targetSeconds: 0.5 },
    ...given,
  }
}

/** Elements whose pool is another than `tank` fail, all others have succeeded as soon as they are asked for. */
export function createFakeExports(fake: Controls, accept: Accept): Exports {
  const { exports, batches, volumes, chapSecrets } = fake
  const isSeen = (caller: Caller, one: { readonly groupId: string }) =>
    visibleGroup(caller) === null || one.groupId === caller.groupId

  function order<Element extends { readonly volume: string }>(
    caller: Caller,
    given: {
      readonly type: ExportBatch['type']
      readonly elements: readonly Element[]
      readonly act: (element: Element) => { readonly volume: boolean; readonly reused: boolean }
    },
  ) {
    const { type, elements, act } = given
    const errors: ElementFailure[] = []
    const done: { n: number; volume: boolean; reused: boolean; diverged: boolean }[] = []
    const { jobId } = accept(caller, `export.${type}`, () => {
      for (const [n, element] of elements.entries()) {
        const pool = element.volume.split('/')[0]
        if (pool === 'tank') done.push({ n, ...act(element), diverged: false })
        else errors.push({ n, code: 'not_found', message: `there is no pool '${pool}'` })
      }
    })
    const job = { id: jobId, host: 'host-a', state: 'succeeded', phase: null, finished: done.length, error: null }
    const batch = fakeBatch({ groupId: caller.groupId, type, requested: elements.length, done, errors, jobs: [job] })
    batches.set(batch.id, { ...batch, finished: elements.length })
    return { batchId: batch.id, jobIds: [jobId] }
  }

  return {
    async create(caller, wanted) {
      for (const [n, { wwn }] of wanted.entries()) {
        const field = `clones[${n}].wwn`
        if (!IscsiName.safeParse(wwn).success)
          throw new FleetError('invalid', `${field}: must be an iSCSI name`, { field })
      }
      return order(caller, {
        type: 'create',
        elements: wanted,
        act({ volume, wwn: given, initiators, chap, source, isReadonly = false }) {
          const wwn = given.toLowerCase()
          const reused = volumes.has(volume)
          const [pool = '', ...rest] = volume.split('/')
          const { groupId } = caller
          if (!reused && source) {
            volumes.set(volume, fakeVolume({ groupId, pool, name: rest.join('/'), origin: source }))
          }
          if (chap) chapSecrets.set(wwn, chap.secret)
          const access = { initiators, chapUser: chap?.user ?? null, isReadonly }
          exports.set(wwn, fakeExport({ groupId, wwn, volume, ...access }))
          return { volume: true, reused }
        },
      })
    },
    remove: async (caller, asked) =>
      order(caller, {
        type: 'delete',
        elements: asked,
        act({ volume, wwn, deleteVolume }) {
          exports.delete(wwn.toLowerCase())
          if (deleteVolume) volumes.delete(volume)
          return { volume: deleteVolume === true, reused: false }
        },
      }),
    async batch(caller, id) {
      const batch = batches.get(id)
      if (!batch || !isSeen(caller, batch)) throw new FleetError('not_found', `there is no batch '${id}'`)
      return batch
    },
    async get(caller, idOrWwn) {
      const found = exports.get(idOrWwn.toLowerCase()) ?? [...exports.values()].find(({ id }) => id === idOrWwn)
      if (!found || !isSeen(caller, found)) throw new FleetError('not_found', `there is no export '${idOrWwn}'`)
      return { ...found, live: fake.liveExport }
    },
    async list(caller, { host, volume }, page) {
      const shown = [...exports.values()].filter(
        (one) => isSeen(caller, one) && (!host || one.host === host) && (!volume || one.volume === volume),
      )
      return fakePage(
        shown.map((one) => ({ ...one, live: fake.liveExport })),
        page,
      )
    },
  }
}
