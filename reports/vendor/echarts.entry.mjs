// What of ECharts travels with us: bar and line charts drawn as SVG, the same file for the page and for the PDF.
// VENDOR.json says how echarts.min.js is made of this.
import * as core from "echarts/core";
import { BarChart, LineChart } from "echarts/charts";
import { AriaComponent, DatasetComponent, GridComponent, LegendComponent, TooltipComponent } from "echarts/components";
import { SVGRenderer } from "echarts/renderers";

core.use([BarChart, LineChart, AriaComponent, DatasetComponent, GridComponent, LegendComponent, TooltipComponent, SVGRenderer]);

export const { getInstanceByDom, init, version } = core;
