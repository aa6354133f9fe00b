import { Badge, Button, Group, NumberInput, Select, SimpleGrid, Stack, Switch, Text, TextInput, Title } from '@mantine/core';
import { useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { data, operator, useOperator, type Schemas } from '../client';
import { at, useChange } from '../hooks';

type Model = Schemas['OperatorModel'];
type Route = Schemas['RouteCost'];

const touched = ['/admin/v1/models', '/admin/v1/providers', '/openapi/v1/models', '/console/api/models'];

/** ModelRoutes are the ways to serve a model, those that are off among them. */
export function ModelRoutes({ model }: { model: Model }) {
  const { t } = useTranslation();
  return (
    <Stack>
      <Title order={3}>{t('op.routes')}</Title>
      <Text size="sm" c="dimmed">
        {t('cat.routesText')}
      </Text>
      {model.routes.length + model.off_routes.length === 0 ? <Text size="sm">{t('op.noCost')}</Text> : null}
      {model.routes.map((r) => (
        <RouteForm key={r.route_id} route={r} on />
      ))}
      {model.off_routes.map((r) => (
        <RouteForm key={r.route_id} route={r} on={false} />
      ))}
      <AddRoute model={model.id} />
    </Stack>
  );
}

/** RouteForm changes a route's order, weight and region, and switches it off and on. */
function RouteForm({ route: r, on }: { route: Route; on: boolean }) {
  const { t } = useTranslation();
  const [d, setD] = useState<{ priority?: number; weight?: number; region?: string }>({});
  const change = useChange(
    (body: Schemas['RoutePatch']) => data(operator.PATCH('/admin/v1/routes/{route_id}', { params: { path: { route_id: String(r.route_id) } }, body })),
    touched,
    () => t('settings.saved'),
    ['priority', 'weight', 'region'],
  );
  const label = `${r.provider}/${r.upstream_model}${r.region ? ` (${r.region})` : ''}`;
  const submit = (e: FormEvent) => {
    e.preventDefault();
    change.mutate({ ...d, ...(d.region === undefined ? {} : { region: d.region.trim() }) }, { onSuccess: () => setD({}) });
  };
  return (
    <form onSubmit={submit} noValidate aria-label={label}>
      <Stack gap="xs">
        <Group justify="space-between" wrap="nowrap" align="flex-start">
          <Stack gap={0} miw={0}>
            <Text size="sm" fw={550} style={{ overflowWrap: 'anywhere' }}>
              {r.provider}
            </Text>
            <Text size="xs" c="dimmed" style={{ overflowWrap: 'anywhere' }}>
              {r.upstream_model}
            </Text>
          </Stack>
          <Group gap="xs" wrap="nowrap">
            {r.own ? null : (
              <Badge size="xs" tt="none" color="gray">
                {t('cat.noOwnCost')}
              </Badge>
            )}
            <Switch label={t(on ? 'cat.on' : 'cat.isOff')} aria-label={`${t('cat.on')}: ${label}`} checked={on} disabled={change.isPending} onChange={(e) => change.mutate({ enabled: e.currentTarget.checked })} />
          </Group>
        </Group>
        {on ? (
          <Group align="flex-start" gap="xs" grow preventGrowOverflow={false}>
            <NumberInput size="xs" label={t('cat.priority')} min={0} max={1000} allowDecimal={false} value={d.priority ?? r.priority} onChange={(v) => typeof v === 'number' && setD((all) => ({ ...all, priority: v }))} error={at(change.error, 'priority')} />
            <NumberInput size="xs" label={t('cat.weight')} min={1} max={1_000_000} allowDecimal={false} value={d.weight ?? r.weight} onChange={(v) => typeof v === 'number' && setD((all) => ({ ...all, weight: v }))} error={at(change.error, 'weight')} />
            <TextInput
              size="xs"
              label={t('cat.region')}
              maxLength={64}
              value={d.region ?? r.region}
              onChange={(e) => {
                const { value } = e.currentTarget;
                setD((all) => ({ ...all, region: value }));
              }}
              error={at(change.error, 'region')}
            />
            <Button size="xs" mt={24} variant="default" type="submit" loading={change.isPending} disabled={Object.keys(d).length === 0} aria-label={`${t('common.save')}: ${label}`}>
              {t('common.save')}
            </Button>
          </Group>
        ) : null}
      </Stack>
    </form>
  );
}

function AddRoute({ model }: { model: string }) {
  const { t } = useTranslation();
  const providers = useOperator(['/admin/v1/providers'], (signal) => operator.GET('/admin/v1/providers', { signal }));
  const empty = { provider: null as string | null, upstream: '', priority: 0, weight: 1, region: '' };
  const [d, setD] = useState(empty);
  const [tried, setTried] = useState(false);
  const set = (change: Partial<typeof empty>) => setD((all) => ({ ...all, ...change }));
  const add = useChange(
    () => data(operator.POST('/admin/v1/models/{model}/routes', { params: { path: { model } }, body: { provider: d.provider ?? '', upstream_model: d.upstream.trim(), priority: d.priority, weight: d.weight, region: d.region.trim() } })),
    touched,
    () => t('cat.routeAdded'),
    ['provider', 'upstream_model', 'model', 'priority', 'weight', 'region'],
  );
  const badProvider = d.provider === null ? t('cat.needProvider') : null;
  const badModel = d.upstream.trim() === '' ? t('keys.needName') : null;
  const submit = (e: FormEvent) => {
    e.preventDefault();
    setTried(true);
    if (badProvider || badModel) return;
    add.mutate(undefined, {
      onSuccess: () => {
        setD(empty);
        setTried(false);
      },
    });
  };
  return (
    <form onSubmit={submit} noValidate aria-label={t('cat.addRoute')}>
      <Stack gap="xs">
        <Title order={4}>{t('cat.addRoute')}</Title>
        <SimpleGrid cols={{ base: 1, xs: 2 }} spacing="xs">
          <Select label={t('prov.provider')} required searchable data={providers.data?.items.map((p) => p.name) ?? []} value={d.provider} onChange={(provider) => set({ provider })} error={(tried ? badProvider : null) ?? at(add.error, 'provider')} />
          <TextInput label={t('cat.upstream')} required maxLength={256} value={d.upstream} onChange={(e) => set({ upstream: e.currentTarget.value })} error={(tried ? badModel : null) ?? at(add.error, 'upstream_model', 'model')} />
        </SimpleGrid>
        <SimpleGrid cols={{ base: 1, xs: 3 }} spacing="xs">
          <NumberInput label={t('cat.priority')} min={0} max={1000} allowDecimal={false} value={d.priority} onChange={(v) => typeof v === 'number' && set({ priority: v })} error={at(add.error, 'priority')} />
          <NumberInput label={t('cat.weight')} min={1} max={1_000_000} allowDecimal={false} value={d.weight} onChange={(v) => typeof v === 'number' && set({ weight: v })} error={at(add.error, 'weight')} />
          <TextInput label={t('cat.region')} maxLength={64} value={d.region} onChange={(e) => set({ region: e.currentTarget.value })} error={at(add.error, 'region')} />
        </SimpleGrid>
        <Button type="submit" variant="default" loading={add.isPending} style={{ alignSelf: 'flex-end' }}>
          {t('cat.addRoute')}
        </Button>
      </Stack>
    </form>
  );
}
