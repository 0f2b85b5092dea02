import { execFileSync } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { findDatasetAt } from '../../agent/drivers/dataset-at.ts'
import { type InstancesConfig, openInstances } from '../../agent/instances/open-instances.ts'
import { openStoppedNotes } from '../../agent/pipelines/instance/stopped-notes.ts'
import type { PipelineTools } from '../../agent/pipelines/pipeline.ts'
import type { PointOrders } from './point-orders.ts'

const never = new AbortController().signal

export interface InstanceHost {
  readonly tools: PipelineTools
  /** How long each snapshot took, in milliseconds. */
  readonly snapshotMs: number[]
}

/** The tools of an agent that serves instances too. */
export function instanceHost(orders: PointOrders, config: Partial<InstancesConfig>): InstanceHost {
  const { state } = orders.points
  const instances = openInstances({ lxcPath: '', dockerSocket: '', state, ...config })
  const snapshotMs: number[] = []
  const driver: PointOrders['driver'] = {
    ...orders.driver,
    async snapshot(request, watch) {
      const startedAt = performance.now()
      const image = await orders.driver.snapshot(request, watch)
      snapshotMs.push(performance.now() - startedAt)
      return image
    },
  }
  return {
    snapshotMs,
    tools: {
      ...orders.tools,
      driver: () => driver,
      instances: instances.get,
      stopped: openStoppedNotes(join(state, 'stopped'), instances.get, never),
      datasetAt: (path) => findDatasetAt(path, new Map([['a', driver]])),
    },
  }
}

/** Extracts a chain of points by GNU tar alone, one over the other: of what is only in the older ones nothing is deleted. */
export function untar(orders: PointOrders, names: readonly string[]): string {
  const into = mkdtempSync(join(orders.outside, 'by-tar-'))
  for (const name of names) {
    const script = `zstd -dcq "$1" | tar -C "$2" --xattrs --xattrs-include='*' -xpf -`
    const data = join(orders.backups, name, 'data.tar.zst')
    execFileSync('/bin/sh', ['-c', script, 'untar', data, into], { stdio: 'pipe', env: { PATH: '/usr/bin:/bin' } })
  }
  return into
}

export function tarNames(file: string): readonly string[] {
  return execFileSync('/bin/tar', ['-tf', file]).toString().trim().split('\n')
}
