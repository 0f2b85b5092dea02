import { hasInitiator } from './library.ts'

/** The iSCSI name as whom a host logs in; undefined where it cannot. */
export function initiatorOf(host: string): string | undefined {
  return hasInitiator() ? `iqn.2026-01.org.holdfast:host-${host}` : undefined
}
