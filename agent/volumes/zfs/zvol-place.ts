import type { Zfs } from '../../zfs/zfs.ts'
import type { VolumeLooks } from './volume-rows.ts'

/** The devices of volumes: what udevd makes of them. */
export interface ZvolDevices {
  /** @throws unavailable, naming one */
  settle(devices: readonly string[], signal: AbortSignal): Promise<void>
  /** Of a volume that was just made: a moment is waited for it, and no failure is told. @param name full */
  seen(name: string, signal: AbortSignal): Promise<unknown>
  /** Of a volume that was renamed: its own device stands under its name. @param name full @throws unavailable */
  settleOwn(name: string, signal: AbortSignal): Promise<void>
}

/** Where volumes lie, and what can be done there. */
export interface ZvolPlace {
  readonly zfs: Zfs
  readonly looks: VolumeLooks
  /** Full name of the file system that all are below. */
  readonly root: string
  readonly pool: string
  readonly devices: ZvolDevices
  /** One volume without snapshots, or one snapshot that nothing rests on. Absence is success. @throws conflict, busy */
  destroy(name: string, signal: AbortSignal): Promise<void>
}
