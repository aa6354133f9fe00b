import { useInfiniteQuery } from '@tanstack/react-query';
import { useEffect } from 'react';
import { get, type ChargeRow, type Page } from './api';

/** period is the days from so many days ago to today, UTC. */
export function period(days: number): { from: string; to: string; dates: string[] } {
  const at = (back: number) => {
    const d = new Date();
    d.setUTCDate(d.getUTCDate() - back);
    return d.toISOString().slice(0, 10);
  };
  return { from: at(days - 1), to: at(-1), dates: Array.from({ length: days }, (_, i) => at(days - 1 - i)) };
}

/** useCharges reads all charges of a time by day, model and key. */
export function useCharges(query: { from: string; to: string; model?: string | null; key_id?: string | null }) {
  const pages = useInfiniteQuery({
    queryKey: ['/openapi/v1/billing/cost-breakdown', query],
    queryFn: ({ pageParam, signal }) => get<Page<ChargeRow>>('/openapi/v1/billing/cost-breakdown', { ...query, limit: 200, cursor: pageParam }, signal),
    initialPageParam: '',
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    refetchInterval: 30_000,
  });
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = pages;
  useEffect(() => {
    if (hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage, pages.data]);
  return { ...pages, complete: pages.data !== undefined && !hasNextPage, rows: pages.data?.pages.flatMap((p) => p.items) ?? [] };
}
