import { Box, Group, Stack, Table, Text, UnstyledButton } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import { IconArrowDown, IconArrowUp } from '../icons';
import { flexRender, getCoreRowModel, getSortedRowModel, useReactTable, type Cell as CellOf, type ColumnDef, type RowData, type SortingState } from '@tanstack/react-table';
import { useState, type ReactNode } from 'react';

declare module '@tanstack/react-table' {
  interface ColumnMeta<TData extends RowData, TValue> {
    /** numbers and amounts stand at the right */
    right?: boolean;
    /** the heading of the row where it is a card; without a label */
    lead?: boolean;
    /** stands beside the heading of the card, at the right */
    trail?: boolean;
    /** not in cards */
    wide?: boolean;
    width?: number | string;
  }
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- the values of a row's columns are of several types
export type Columns<T> = ColumnDef<T, any>[];

interface Props<T> {
  rows: T[];
  columns: Columns<T>;
  id: (row: T) => string;
  label: string;
  onOpen?: (row: T) => void;
  empty?: ReactNode;
  sortable?: boolean;
  initialSort?: SortingState;
  /** pixels below which the table scrolls inside its panel */
  minWidth?: number;
}

/** open makes the whole row answer the pointer; the keyboard has the button in it. */
function open<T>(row: T, onOpen: ((row: T) => void) | undefined) {
  return onOpen ? { className: 'row-open', onClick: () => onOpen(row) } : {};
}

function Cell<T>({ cell, opens }: { cell: CellOf<T, unknown>; opens: boolean }) {
  const content = flexRender(cell.column.columnDef.cell, cell.getContext());
  // A click on the button is a click on the row.
  return opens && cell.column.columnDef.meta?.lead ? <UnstyledButton className="row-button">{content}</UnstyledButton> : <>{content}</>;
}

/** DataTable is a table where there is room, and a list of cards where there is not. */
export function DataTable<T>({ rows, columns, id, label, onOpen, empty, sortable = false, initialSort = [], minWidth = 560 }: Props<T>) {
  const narrow = useMediaQuery('(max-width: 48em)', false, { getInitialValueInEffect: false });
  const [sorting, setSorting] = useState<SortingState>(initialSort);
  const table = useReactTable({
    data: rows,
    columns,
    getRowId: id,
    state: { sorting },
    onSortingChange: setSorting,
    enableSorting: sortable,
    getCoreRowModel: getCoreRowModel(),
    getSortedRowModel: getSortedRowModel(),
  });
  if (rows.length === 0) return <>{empty}</>;
  const list = table.getRowModel().rows;

  if (narrow) {
    return (
      <Stack gap={0} role="list" aria-label={label}>
        {list.map((row) => {
          const cells = row.getVisibleCells().filter((c) => !c.column.columnDef.meta?.wide);
          const lead = cells.filter((c) => c.column.columnDef.meta?.lead);
          const trail = cells.filter((c) => c.column.columnDef.meta?.trail);
          const rest = cells.filter((c) => !c.column.columnDef.meta?.lead && !c.column.columnDef.meta?.trail);
          const { className = '', ...attributes } = open(row.original, onOpen);
          return (
            <Box key={row.id} role="listitem">
              <Box {...attributes} className={`row-card ${className}`}>
                <Group justify="space-between" wrap="nowrap" align="flex-start" mb={6} gap="sm">
                  <Box miw={0} style={{ overflowWrap: 'anywhere' }}>
                    {lead.map((c) => (
                      <Box key={c.id}><Cell cell={c} opens={onOpen !== undefined} /></Box>
                    ))}
                  </Box>
                  <Group gap="xs" wrap="nowrap">
                    {trail.map((c) => (
                      <Box key={c.id}><Cell cell={c} opens={onOpen !== undefined} /></Box>
                    ))}
                  </Group>
                </Group>
                <Stack gap={3}>
                  {rest.map((c) => (
                    <Group key={c.id} justify="space-between" gap="sm" wrap="nowrap">
                      <Text size="xs" c="dimmed">
                        {typeof c.column.columnDef.header === 'string' ? c.column.columnDef.header : ''}
                      </Text>
                      <Text size="sm" component="div" ta="right" style={{ overflowWrap: 'anywhere' }}>
                        {flexRender(c.column.columnDef.cell, c.getContext())}
                      </Text>
                    </Group>
                  ))}
                </Stack>
              </Box>
            </Box>
          );
        })}
      </Stack>
    );
  }

  return (
    <Table.ScrollContainer minWidth={minWidth} type="native">
      <Table className="table" aria-label={label} highlightOnHover={onOpen !== undefined}>
        <Table.Thead>
          {table.getHeaderGroups().map((group) => (
            <Table.Tr key={group.id}>
              {group.headers.map((h) => {
                const sorted = h.column.getIsSorted();
                const content = flexRender(h.column.columnDef.header, h.getContext());
                const meta = h.column.columnDef.meta;
                return (
                  <Table.Th key={h.id} ta={meta?.right ? 'right' : 'left'} w={meta?.width} aria-sort={sorted === 'asc' ? 'ascending' : sorted === 'desc' ? 'descending' : undefined}>
                    {h.column.getCanSort() ? (
                      <Box component="button" type="button" onClick={h.column.getToggleSortingHandler()} style={{ all: 'unset', cursor: 'pointer' }} className="row-button">
                        {content} {sorted === 'asc' ? <IconArrowUp size={12} /> : sorted === 'desc' ? <IconArrowDown size={12} /> : null}
                      </Box>
                    ) : (
                      content
                    )}
                  </Table.Th>
                );
              })}
            </Table.Tr>
          ))}
        </Table.Thead>
        <Table.Tbody>
          {list.map((row) => (
            <Table.Tr key={row.id} {...open(row.original, onOpen)}>
              {row.getVisibleCells().map((c) => (
                <Table.Td key={c.id} ta={c.column.columnDef.meta?.right ? 'right' : 'left'} className={c.column.columnDef.meta?.right ? 'number' : ''}>
                  <Cell cell={c} opens={onOpen !== undefined} />
                </Table.Td>
              ))}
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}
