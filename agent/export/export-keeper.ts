import type { ExportElement, WantedExport } from '../../shared/volume-spec.ts'
import type { Session, StandingTarget } from './exports.ts'

/** What a volume is on this host. */
export interface ShownVolume {
  readonly device: string
  readonly guid: string
}

/** What is exported, with what its volume is on this host. */
export interface KeptExport extends WantedExport, ShownVolume {}

export type Chap = { readonly user: string; readonly secret: string } | undefined

export type AskedExport = KeptExport & { readonly chap: Chap }

/**
 * The exports of this host: what is wanted is kept durably in the agent's state directory (secrets of CHAP too, mode 0600), before a
 * target is made and until it is gone, so that all are made again after a restart of the agent, of the daemon or of the host, without
 * the control plane. Every method takes many and lets each fail alone, answers in their sequence.
 */
export interface ExportKeeper {
  /** @throws unavailable where this host can export nothing. */
  add(wanted: readonly AskedExport[], signal: AbortSignal): Promise<readonly (Error | undefined)[]>
  /** Absence is success. An export that has a session is `conflict`, unless `force`. */
  remove(
    asked: readonly { readonly wwn: string; readonly force: boolean }[],
    signal: AbortSignal,
  ): Promise<readonly (Error | undefined)[]>
  find(wwn: string): KeptExport | undefined
  /** By the volume's place: those that would show it. */
  ofVolume(place: ExportElement['place']): readonly KeptExport[]
  kept(): readonly KeptExport[]
  /** What stands now, with its sessions. @param wwns only these of them */
  standing(signal: AbortSignal, wwns?: readonly string[]): Promise<readonly StandingTarget[]>
  /** Who is logged in to a volume now; nobody where it is not exported. @throws unavailable while its targets cannot be asked */
  sessionsOf(
    place: ExportElement['place'],
    signal: AbortSignal,
  ): Promise<readonly (Session & { readonly wwn: string })[]>
  /** Of what is kept, without secrets: the same for the same set of exports, whatever their sequence. Goes with every beat. */
  hash(): string
  readonly technology: 'tgt' | 'lio' | 'none'
  readonly portals: readonly string[]
  /** Which one of each target the volume is: 0, but 1 of tgt, whose LUN 0 is always its controller. */
  readonly lun: number
  /**
   * Makes what is kept stand again, and takes down what is not; what cannot be made (its volume is away) is told and tried again. Never
   * throws. Whatever is asked meanwhile waits for it.
   */
  restore(signal: AbortSignal): Promise<void>
  /** After its volume grew: initiators are told where the technology can. Nothing where nobody exports it. */
  resized(place: ExportElement['place'], signal: AbortSignal): Promise<void>
  /**
   * Puts other content, or another file, under a volume's name: its exports are closed, `act` does that and answers what the volume is from
   * now on, and they are opened again as that, by the same names to the same initiators. No session outlives it. Where nobody exports
   * the volume it is `act` alone. Exports of this host wait for it, so it is to be short, and must ask nothing of the keeper. An export
   * that cannot be opened again is tried again like any other. Of a volume that was replaced already, `act` only answers what it is.
   * @throws conflict with the wwns as blockers while somebody is logged in (`act` is not called then); what `act` throws, with the exports as
   * they were if the volume is what it was
   */
  replace<Now extends ShownVolume>(
    place: ExportElement['place'],
    act: () => Promise<Now>,
    signal: AbortSignal,
  ): Promise<Now>
}
